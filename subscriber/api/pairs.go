package api

import (
	"strings"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
)

// pair is one name=value of a query.
type pair struct {
	name     string // in lower case, without modifier
	modifier string // what follows the colon in the name
	original string // the name as in the query, for messages
	value    string
	err      error // set if name or value is not percent-encoded UTF-8
}

// splitQuery returns the pairs of the query of a URL. A plus sign is a space, as
// in HTML forms. A broken escape is an error of its pair and not of splitQuery,
// because the caller checks the credentials first.
func splitQuery(raw string) []pair {
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		pairs = append(pairs, readPair(part))
	}
	return pairs
}

// sizeOf returns the size of a query in bytes, decoded. Links may escape more characters
// than the query does, and are to be within the same limit. The page number does not
// count, because links add it.
func sizeOf(pairs []pair) int {
	size := 0
	for _, p := range pairs {
		if p.name != paramPage {
			size += len(p.original) + len(p.value) + len("&=")
		}
	}
	return size
}

// readPair reads name=value or name:modifier=value. Of a name that ends with a colon the
// modifier is the colon, so that it is refused like others.
func readPair(part string) pair {
	rawName, rawValue, _ := strings.Cut(part, "=")
	name, okName := unescape(rawName)
	value, okValue := unescape(rawValue)
	p := pair{original: name, value: value}
	p.name, p.modifier, _ = strings.Cut(name, ":")
	p.name = strings.ToLower(p.name)
	if strings.HasSuffix(name, ":") {
		p.modifier = ":"
	}
	switch {
	case !okName:
		p.err = events.Errorf(events.Invalid, "The query has a parameter name that is not percent-encoded UTF-8.")
	case !okValue:
		p.err = events.Fieldf(shorten(name), "the value is not percent-encoded UTF-8")
	}
	return p
}

// unescape decodes percent-encoding and reports whether it and the result's UTF-8
// are valid.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, utf8.ValidString(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(s) {
				return s, false
			}
			high, low := hexDigit(s[i+1]), hexDigit(s[i+2])
			if high < 0 || low < 0 {
				return s, false
			}
			out = append(out, byte(high<<4|low))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out), utf8.Valid(out)
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// shorten returns a part of the input that is short enough for a message.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
