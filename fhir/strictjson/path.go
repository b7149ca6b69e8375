package strictjson

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed-e88a4ece/signoff/events"
)

// Within puts a step, a name or an index such as [2], before the Field of the
// events.Error in err, and returns err. Another error, or nil, is returned unchanged.
func Within(step string, err error) error {
	var e *events.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Field == "":
		e.Field = step
	case e.Field[0] == '[':
		e.Field = step + e.Field
	default:
		e.Field = step + "." + e.Field
	}
	return err
}

// step returns a name as a step of a path. A name of at most 40 ASCII letters, digits
// and _ is unchanged. Any other is quoted and cut, because it ends up in messages.
func step(name []byte) string {
	const longest = 40
	plain := len(name) > 0 && len(name) <= longest
	for _, b := range name {
		plain = plain && (b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || b == '_')
	}
	if plain {
		return string(name)
	}
	return strconv.Quote(string(name[:min(len(name), longest)]))
}

// Find returns the value at the path, as it stands in data, and its offset. If there
// is no such value, or the text before it is not JSON, Find returns nil and the offset
// of the innermost value on the path that is there. Of equal names it takes the first.
func Find(data []byte, path string) (value []byte, offset int) {
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true))
	for {
		kind := d.PeekKind()
		if kind == jsontext.KindInvalid {
			return nil, offset
		}
		rest := data[d.InputOffset():]
		offset = len(data) - len(bytes.TrimLeft(rest, " \t\r\n,:"))
		if path == "" {
			value, _ := d.ReadValue()
			return value, offset
		}
		var found bool
		if path, found = descend(d, kind, path); !found {
			return nil, offset
		}
	}
}

// descend reads into an object or array up to the member or element that is the first
// step of the path. It returns the path after that step. Found is false if the value
// has no such member or element, or is no object or array.
func descend(d *jsontext.Decoder, kind jsontext.Kind, path string) (rest string, found bool) {
	if kind != jsontext.KindBeginObject && kind != jsontext.KindBeginArray {
		return "", false
	}
	_, err := d.ReadToken()
	for i := 0; err == nil && d.PeekKind() != kind+2; i++ { // kind+2 is the closing bracket in ASCII
		name := "[" + strconv.Itoa(i) + "]"
		if kind == jsontext.KindBeginObject {
			var token jsontext.Token
			if token, err = d.ReadToken(); err != nil {
				break
			}
			name = step([]byte(token.String()))
		}
		if rest, found = strings.CutPrefix(path, name); found && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return strings.TrimPrefix(rest, "."), true
		}
		err = d.SkipValue()
	}
	return "", false
}
