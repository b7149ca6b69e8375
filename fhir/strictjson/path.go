package strictjson

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed-e88a4ece/signoff/events"
)

// Within puts a step of the path, a name or an index such as [2], before the
// field of the events.Error in err, and returns err.
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

// step returns a name as a step of a path. A short name of letters, digits and _
// is unchanged; another, which may be hostile, is quoted and shortened.
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

// Find returns the value at the path, as it stands in data, and its offset.
// Where there is no such value, or the text before it is not JSON, it returns
// nil and the offset of the innermost value around it.
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

// descend reads into an object or array up to the value that the path begins
// with, and returns the rest of the path.
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
