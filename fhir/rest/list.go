package rest

import (
	"iter"
	"slices"
	"strings"
)

// SplitList returns the elements of a header that is a list, such as Accept or
// Prefer, without the spaces around them. A separator within a quoted string is
// part of its element (RFC 9110, section 5.6). A quoted string without a closing
// quote reaches to the end of the header.
func SplitList(header string, separator byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(header); i++ {
			switch c := header[i]; {
			case quoted && c == '\\':
				i++ // skip the escaped character
			case c == '"':
				quoted = !quoted
			case c == separator && !quoted:
				if !yield(strings.Trim(header[start:i], " \t")) {
					return
				}
				start = i + 1
			}
		}
		yield(strings.Trim(header[start:], " \t"))
	}
}

// Prefers returns the value of a preference in the header Prefer, or "" if there is
// none. If the preference occurs several times, the first one is used. Parameters of
// a preference are ignored (RFC 7240, section 2).
func Prefers(headers []string, name string) string {
	for preference := range SplitList(strings.Join(headers, ","), ',') {
		parts := slices.Collect(SplitList(preference, ';')) // the preference and its parameters
		n, value, _ := strings.Cut(parts[0], "=")
		if strings.EqualFold(strings.TrimSpace(n), name) {
			return unquote(strings.TrimSpace(value))
		}
	}
	return ""
}

// unquote returns the text of a quoted string, and any other text as it is.
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	var b strings.Builder
	for i := 1; i < len(text)-1; i++ {
		if text[i] == '\\' && i < len(text)-2 { // a backslash before the closing quote is kept
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
