package strictjson_test

import (
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

func ExampleRead() {
	read := func(text string) (value string, err error) {
		err = strictjson.Read([]byte(text), func(r *strictjson.Reader) error {
			_, err := r.Object(func(name []byte) (err error) {
				if string(name) == "value" {
					value, err = r.Number()
					return err
				}
				return r.Skip()
			})
			return err
		})
		return value, err
	}
	fmt.Println(read(`{"unit": "mm", "value": 50.0}`))
	fmt.Println(read(`{"unit": "mm", "value": "50.0"}`))
	// Output:
	// 50.0 <nil>
	//  value: must be a number, not a string
}

func ExampleCheck() {
	err := strictjson.Check([]byte(`{"lesions": [{"id": "T01", "id": "T02"}]}`))
	fmt.Println(err)
	var syntax *strictjson.SyntaxError
	if errors.As(err, &syntax) {
		fmt.Println("at byte", syntax.Offset)
	}
	// Output:
	// lesions[0].id: is there twice
	// at byte 27
}

func ExampleFind() {
	data := []byte(`{"lesions": [{"id": "T01"}, {"id": "T02"}]}`)
	value, offset := strictjson.Find(data, "lesions[1].id")
	fmt.Printf("%s at byte %d\n", value, offset)
	// Output:
	// "T02" at byte 35
}
