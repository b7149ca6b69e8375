package fhir

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
)

// encoder appends JSON to a buffer. Its methods return no error; bytes returns the
// first one, so that the calls that write a resource need no checks between them.
type encoder struct {
	out []byte
	err error
}

// bytes returns the JSON, or the first error.
func (e *encoder) bytes() ([]byte, error) {
	if e.err == nil && !utf8.Valid(e.out) {
		e.err = events.Errorf(events.Invalid, "contains text that is not valid UTF-8")
	}
	if e.err != nil {
		return nil, e.err
	}
	return e.out, nil
}

// raw appends JSON unchanged.
func (e *encoder) raw(json string) { e.out = append(e.out, json...) }

// text appends a JSON string.
func (e *encoder) text(s string) { e.out = appendText(e.out, s) }

// integer appends a number.
func (e *encoder) integer(n int32) { e.out = strconv.AppendInt(e.out, int64(n), 10) }

// decimal appends a number in the digits in which it was signed.
func (e *encoder) decimal(d events.Decimal) {
	if !isNumber(string(d)) {
		e.fail(events.Errorf(events.Invalid, "%q is not a JSON number", string(d)))
	}
	e.raw(string(d))
}

// isNumber reports whether text is a number of JSON. It does not use a decoder, which
// would take a tenth of the time of Encode.
func isNumber(text string) bool {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exponent := text[i+1:]
		if exponent != "" && (exponent[0] == '+' || exponent[0] == '-') {
			exponent = exponent[1:]
		}
		if !isDigits(exponent) {
			return false
		}
		text = text[:i]
	}
	whole, fraction, point := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	return isDigits(whole) && (whole == "0" || whole[0] != '0') && (!point || isDigits(fraction))
}

func isDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

// instant appends a time in the one form in which this program writes it.
func (e *encoder) instant(t time.Time) {
	e.out = append(e.out, '"')
	e.out = t.UTC().AppendFormat(e.out, events.TimeLayout)
	e.out = append(e.out, '"')
}

// fail sets the error, unless there is one.
func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// next is called before element i of an array. It appends start, the member's name and
// opening bracket, before the first element, and a comma before any other.
func (e *encoder) next(i int, start string) {
	if i == 0 {
		e.raw(start)
	} else {
		e.raw(`,`)
	}
}

// close ends an array of n elements. For n = 0 it appends nothing, because next has
// not started the array; FHIR has no empty arrays.
func (e *encoder) close(n int) {
	if n > 0 {
		e.raw(`]`)
	}
}

// meta appends the member meta with the number and the time of the event that carries
// the resource.
func (e *encoder) meta(version uint64, updated time.Time) {
	if version == 0 || updated.IsZero() {
		e.fail(events.Errorf(events.Invalid, "a resource needs the number and the time of its event"))
	}
	e.raw(`,"meta":{"versionId":"`)
	e.out = strconv.AppendUint(e.out, version, 10)
	e.raw(`","lastUpdated":`)
	e.instant(updated)
	e.raw(`}`)
}

// extension appends the start of an extension up to its value. It appends a comma
// before that unless the extension is the first of its array.
func (e *encoder) extension(name, kind string) {
	if e.out[len(e.out)-1] != '[' {
		e.raw(`,`)
	}
	e.raw(`{"url":"` + root)
	e.raw(name)
	e.raw(`","`)
	e.raw(kind)
	e.raw(`":`)
}

// extText appends an extension with a string.
func (e *encoder) extText(name, value string) {
	e.extension(name, valueString)
	e.text(value)
	e.raw(`}`)
}

// extInteger appends an extension with a number.
func (e *encoder) extInteger(name string, value int32) {
	e.extension(name, valueInteger)
	e.integer(value)
	e.raw(`}`)
}

// identity appends identifier, status, category and code, which a report and an
// Observation have in this order.
func (e *encoder) identity(system, value, status string, category concept, code string) {
	e.raw(`,"identifier":[{"system":"`)
	e.raw(system)
	e.raw(`","value":`)
	e.text(value)
	e.raw(`}],"status":"`)
	e.raw(status)
	e.raw(`","category":[{"coding":[{"system":"`)
	e.raw(category.system)
	e.raw(`","code":"`)
	e.raw(category.code)
	e.raw(`","display":"`)
	e.raw(category.display)
	e.raw(`"}],"text":"`)
	e.raw(category.text)
	e.raw(`"}],"code":{"text":"`)
	e.raw(code)
	e.raw(`"}`)
}

// subject appends the subject and the date of the examination.
func (e *encoder) subject(id, effective string) {
	e.raw(`,"subject":{"reference":`)
	e.text(subjectPrefix + EscapeQuery(id)) // a reference is a URI
	e.raw(`},"effectiveDateTime":`)
	e.text(effective)
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. Only what JSON requires is escaped.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
