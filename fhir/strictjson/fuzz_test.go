package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// FuzzCheck compares with encoding/json: what is accepted, that accepts too;
// what only it accepts has a name twice, bytes that are not UTF-8, half of a
// surrogate pair, or is beyond a limit.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,2.50,{"b":null}],"c":"\ud83d\ude00"}`, `{"a":1,"\u0061":2}`, `["\ud800"]`, "\"\xff\"", `05`, `nullx`, ` 1E2 `, `{"a":1,}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := strictjson.Check(data)
		if valid := json.Valid(data); (err == nil) && !valid {
			t.Fatalf("accepted, but it is not JSON: %q", data)
		} else if valid && err != nil && utf8.Valid(data) {
			known := false
			for _, reason := range []string{"is there twice", "invalid surrogate pair", "is nested deeper"} {
				known = known || strings.Contains(err.Error(), reason)
			}
			if !known {
				t.Fatalf("%q: %v", data, err)
			}
		}
	})
}

// FuzzFind: no path and no text make it panic, and what it finds is JSON.
func FuzzFind(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b c":"x"}]}`), `a[1]."b c"`)
	f.Add([]byte(`[[[`), "[0][0].")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		value, offset := strictjson.Find(data, path)
		if offset < 0 || offset > len(data) {
			t.Fatalf("offset %d of %d", offset, len(data))
		}
		if value != nil && utf8.Valid(data) && !json.Valid(value) {
			t.Fatalf("%q at %q is %q", data, path, value)
		}
	})
}
