package intake

import (
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
)

const (
	maxDepth = 32
	maxNodes = 50_000 // values in one record
)

// parse reads one JSON value (RFC 8259) that starts at the line and is all
// there is in data. Unlike encoding/json it refuses members that come twice,
// invalid UTF-8 and half surrogates, and knows where everything stands. Its
// error is a *fault with the path of the value it stands in.
func parse(data []byte, line int) (node, error) {
	p := parser{data: data, line: line}
	p.space()
	n, f := p.value(0)
	if f != nil {
		return node{}, f
	}
	p.space()
	if p.pos < len(data) {
		return node{}, p.fault("something follows the end of the record")
	}
	return n, nil
}

type parser struct {
	data  []byte
	pos   int
	line  int
	nodes int
}

func (p *parser) fault(format string, args ...any) *fault {
	return faultf(p.line, events.Invalid, "", format, args...)
}

// unexpected says what stands at the position instead of what should.
func (p *parser) unexpected(wanted string) *fault {
	if p.pos >= len(p.data) {
		return p.fault("the record ends in the middle, where %s should be", wanted)
	}
	r, _ := utf8.DecodeRune(p.data[p.pos:])
	return p.fault("found %q where %s should be", r, wanted)
}

func (p *parser) space() {
	for ; p.pos < len(p.data); p.pos++ {
		switch p.data[p.pos] {
		case '\n':
			p.line++
		case ' ', '\t', '\r':
		default:
			return
		}
	}
}

// peek skips white space and gives the byte after it, 0 at the end.
func (p *parser) peek() byte {
	p.space()
	if p.pos >= len(p.data) {
		return 0
	}
	return p.data[p.pos]
}

func (p *parser) value(depth int) (node, *fault) {
	p.nodes++
	if depth > maxDepth || p.nodes > maxNodes {
		return node{}, faultf(p.line, events.TooLarge, "", "is nested more than %d deep, or the record holds more than %d values", maxDepth, maxNodes)
	}
	n := node{from: p.pos, line: p.line}
	var f *fault
	switch c := p.peek(); {
	case c == '{':
		n.kind = object
		n.items, f = p.object(depth)
	case c == '[':
		n.kind = array
		n.items, f = p.array(depth)
	case c == '"':
		n.kind = text
		n.text, f = p.string()
	default:
		n.kind, n.text, f = p.scalar()
	}
	n.to = p.pos
	return n, f
}

func (p *parser) object(depth int) ([]node, *fault) {
	p.pos++
	if p.peek() == '}' {
		p.pos++
		return nil, nil
	}
	var members []node
	lines := map[string]int{}
	for {
		if p.peek() != '"' {
			return nil, p.unexpected("the name of a member")
		}
		line := p.line
		name, f := p.string()
		if f != nil {
			return nil, f
		}
		if first, twice := lines[name]; twice {
			return nil, p.fault("is there twice, first in line %d", first).within(shown(name))
		}
		lines[name] = line
		if p.peek() != ':' {
			return nil, p.unexpected("a colon").within(shown(name))
		}
		p.pos++
		p.space()
		m, f := p.value(depth + 1)
		if f != nil {
			return nil, f.within(shown(name))
		}
		m.name = name
		members = append(members, m)
		if end, f := p.separator('}'); end || f != nil {
			return members, f
		}
	}
}

func (p *parser) array(depth int) ([]node, *fault) {
	p.pos++
	if p.peek() == ']' {
		p.pos++
		return nil, nil
	}
	var elements []node
	for {
		p.space()
		e, f := p.value(depth + 1)
		if f != nil {
			return nil, f.within(fmt.Sprintf("[%d]", len(elements)))
		}
		elements = append(elements, e)
		if end, f := p.separator(']'); end || f != nil {
			return elements, f
		}
	}
}

// separator consumes a comma, or the closing bracket and says so.
func (p *parser) separator(closing byte) (end bool, f *fault) {
	switch p.peek() {
	case ',':
		p.pos++
		return false, nil
	case closing:
		p.pos++
		return true, nil
	}
	return false, p.unexpected(fmt.Sprintf("a comma or %q", closing))
}

var scalarForm = regexp.MustCompile(`^(?:(true|false)|(null)|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))`)

func (p *parser) scalar() (kind, string, *fault) {
	m := scalarForm.FindSubmatch(p.data[p.pos:])
	if m == nil {
		return 0, "", p.unexpected("a value")
	}
	p.pos += len(m[0])
	if p.pos < len(p.data) && !isDelimiter(p.data[p.pos]) {
		return 0, "", p.unexpected("the end of a number or word")
	}
	switch {
	case m[1] != nil:
		return boolean, string(m[1]), nil
	case m[2] != nil:
		return null, "", nil
	}
	return number, string(m[3]), nil
}

// string reads a string, at whose opening quote the position is.
func (p *parser) string() (string, *fault) {
	p.pos++
	start := p.pos
	for p.pos < len(p.data) { // most have nothing to unescape
		switch c := p.data[p.pos]; {
		case c == '"':
			raw := p.data[start:p.pos]
			if !utf8.Valid(raw) {
				return "", p.fault("is not valid UTF-8")
			}
			p.pos++
			return string(raw), nil
		case c == '\\':
			return p.escaped(append([]byte(nil), p.data[start:p.pos]...))
		case c < ' ':
			return "", p.fault("has a control character in a string, or its closing quote is missing")
		}
		p.pos++
	}
	return "", p.unexpected("the end of a string")
}

// escaped reads on after the unescaped beginning of a string.
func (p *parser) escaped(out []byte) (string, *fault) {
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			if !utf8.Valid(out) {
				return "", p.fault("is not valid UTF-8")
			}
			p.pos++
			return string(out), nil
		case c == '\\':
			r, f := p.escape()
			if f != nil {
				return "", f
			}
			out = utf8.AppendRune(out, r)
		case c < ' ':
			return "", p.fault("has a control character in a string, or its closing quote is missing")
		default:
			out = append(out, c)
			p.pos++
		}
	}
	return "", p.unexpected("the end of a string")
}

// escape reads an escape sequence.
func (p *parser) escape() (rune, *fault) {
	rest := p.data[p.pos:]
	if len(rest) < 2 {
		p.pos = len(p.data)
		return 0, p.unexpected("an escape sequence")
	}
	if plain, ok := plainEscapes[rest[1]]; ok {
		p.pos += 2
		return plain, nil
	}
	r, ok := unicodeEscape(rest)
	if !ok {
		return 0, p.fault("has an escape sequence that JSON does not know")
	}
	p.pos += 6
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	low, ok := unicodeEscape(p.data[p.pos:])
	if full := utf16.DecodeRune(r, low); ok && full != utf8.RuneError {
		p.pos += 6
		return full, nil
	}
	return 0, p.fault("has half a surrogate pair")
}

var plainEscapes = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// unicodeEscape reads \uXXXX at the start of data.
func unicodeEscape(data []byte) (rune, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(n), err == nil
}

// shown makes the name of a member fit for a message.
func shown(name string) string {
	const most = 80
	if len(name) > most {
		name = name[:most] + "…"
	}
	quoted := strconv.QuoteToGraphic(name)
	if inner := quoted[1 : len(quoted)-1]; inner == name && name != "" {
		return name
	}
	return quoted
}
