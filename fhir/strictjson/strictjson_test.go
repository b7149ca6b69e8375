package strictjson_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// refusal is an error as "offset path: message", with - for an error that has
// no offset.
func refusal(err error) string {
	if err == nil {
		return ""
	}
	offset := "-"
	if e := (*strictjson.SyntaxError)(nil); errors.As(err, &e) {
		offset = fmt.Sprint(e.Offset)
	}
	return offset + " " + err.Error()
}

func TestCheckNamesThePathAndTheOffset(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an object", `{"a":[1,2.50,{"b":null}],"c":"\ud83d\ude00"}`, ""},
		{"a value with white space around it", " \t\r\n1E2 \n", ""},
		{"nothing", " ", "1 is not valid JSON: it ends in the middle"},
		{"an object that ends early", `{"a":{"b":[1,`, "13 a.b[1]: is not valid JSON: it ends in the middle"},
		{"a text that ends early", `{"a":"x`, "7 a: is not valid JSON: it ends in the middle"},
		{"a second value", `{} {}`, "3 is not valid JSON: something follows the end of the value"},
		{"a name twice", `{"a":{"b":1,"c":2,"b":3}}`, "18 a.b: is there twice"},
		{"a name twice, once with an escape", `{"ab":1,"\u0061b":3}`, "8 ab: is there twice"},
		{"a number with a leading zero", `{"a":[1,05]}`, "9 a[1]: is not valid JSON: invalid character '5' after 0"},
		{"a number with a sign", `[+1]`, "1 [0]: is not valid JSON: invalid character '+' at start of value"},
		{"a number without fraction", `[1.]`, "3 [0]: is not valid JSON: invalid character ']' in number (expecting digit)"},
		{"a word that goes on", `{"a":nullx}`, "9 a: is not valid JSON: invalid character 'x' after null"},
		{"a word that is none", `{"a":NaN}`, "5 a: is not valid JSON: invalid character 'N' at start of value"},
		{"bytes that are not UTF-8", "{\"a\":\"b\xff\"}", "7 a: is not valid JSON: invalid UTF-8"},
		{"half of a surrogate pair", `["\ud800x"]`, "2 [0]: is not valid JSON: invalid surrogate pair `\\ud800x\"]` in string"},
		{"an unknown escape", `["\x41"]`, "2 [0]: is not valid JSON: invalid escape sequence `\\x` in string"},
		{"a control character", "[\"a\nb\"]", `3 [0]: is not valid JSON: invalid character '\n' in string (expecting non-control character)`},
		{"a no-break space", "[1,\u00a02]", `3 [1]: is not valid JSON: invalid character '\u00a0' at start of value`},
		{"a byte order mark", "\ufeff1", `0 is not valid JSON: invalid character '\ufeff' at start of value`},
		{"a comma too many", `{"a":1,}`, "7 is not valid JSON: invalid character '}' after a comma"},
		{"no comma", `{"a":1 "b":2}`, `7 is not valid JSON: invalid character '"' after object value (expecting ',' or '}')`},
		{"a name that is no string", `{1:2}`, "1 is not valid JSON: object member name must be a string"},
		{"the deepest nest", strings.Repeat("[", 33) + strings.Repeat("]", 33), ""},
		{"a deeper one", strings.Repeat("[", 34) + strings.Repeat("]", 34), "- " + strings.Repeat("[0]", 33) + ": is nested deeper than 32 levels, or the record has more than 50000 values"},
		{"as many values as allowed", "[1" + strings.Repeat(",1", 49_998) + "]", ""},
		{"one more", "[1" + strings.Repeat(",1", 49_999) + "]", "- [49999]: is nested deeper than 32 levels, or the record has more than 50000 values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, refusal(strictjson.Check([]byte(c.text)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// object reads the one member of an object.
func object(text string, value func(*strictjson.Reader) error) error {
	return strictjson.Read([]byte(text), func(r *strictjson.Reader) error {
		_, err := r.Object(func([]byte) error { return value(r) })
		return err
	})
}

func TestValuesOfAnotherTypeAreRefused(t *testing.T) {
	text := func(r *strictjson.Reader) error { _, err := r.Text(); return err }
	integer := func(r *strictjson.Reader) error { _, err := r.Integer(); return err }
	array := func(r *strictjson.Reader) error { _, err := r.Array(func(int) error { return r.Skip() }); return err }
	for _, c := range []struct {
		text  string
		value func(*strictjson.Reader) error
		want  string
	}{
		{`{"a":1}`, text, "a: must be a string, not a number"},
		{`{"a":{}}`, text, "a: must be a string, not an object"},
		{`{"a":null}`, text, "a: must be a string, not null; leave out what has no value"},
		{`{"a":"1"}`, integer, "a: must be a number, not a string"},
		{`{"a":true}`, integer, "a: must be a number, not true"},
		{`{"a":1.0}`, integer, "a: 1.0 is not an integer of at most 2147483647"},
		{`{"a":2147483648}`, integer, "a: 2147483648 is not an integer of at most 2147483647"},
		{`{"a":{"b":1}}`, array, "a: must be an array, not an object"},
		{`["a"]`, text, "must be an object, not an array"},
		{`{"a":` + strings.Repeat("[", 40), func(r *strictjson.Reader) error { return r.Skip() }, "a: is nested deeper than 32 levels"},
	} {
		err := object(c.text, c.value)
		if err == nil || err.Error() != c.want || events.CodeOf(err) != events.Invalid {
			t.Errorf("%s: got %v, want %s", c.text, err, c.want)
		}
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	for _, digits := range []string{"50.0", "1E2", "-0", "0.1e-7", "12345678901234567890.123456789"} {
		err := object(`{"a": `+digits+` }`, func(r *strictjson.Reader) error {
			got, err := r.Number()
			if got != digits {
				t.Errorf("%s was read as %s", digits, got)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestFindFollowsAPath(t *testing.T) {
	const text = "{\n\"a\": [1,\n {\"b\": \"x\", \"c d\": {\"e\":2}}],\n\"abc\": 3}"
	for _, c := range []struct{ path, value, at string }{
		{"", text, text},
		{"a[0]", "1", "1,"},
		{"a[1].b", `"x"`, `"x"`},
		{`a[1]."c d".e`, "2", "2}"},
		{"abc", "3", "3}"},
		{"a[1].missing", "", `{"b"`},
		{"a[2]", "", "[1"},
		{"a.b", "", "[1"},
		{"abc.d", "", "3}"},
		{"none", "", text},
	} {
		value, offset := strictjson.Find([]byte(text), c.path)
		if string(value) != c.value || !strings.HasPrefix(text[offset:], c.at) {
			t.Errorf("%s: got %s at %.10q", c.path, value, text[offset:])
		}
	}
	t.Run("as far as the text is JSON", func(t *testing.T) {
		value, offset := strictjson.Find([]byte(`{"a": {"b": nul`), "a.b")
		if value != nil || offset != len(`{"a": {"b": `) {
			t.Errorf("%s at %d", value, offset)
		}
	})
}
