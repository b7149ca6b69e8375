package fhir

import "strings"

// EscapeQuery percent-encodes a value for the query of a URL (RFC 3986):
// everything but letters, digits and -._~ as the bytes of its UTF-8 in
// upper-case hexadecimal; a space is %20.
func EscapeQuery(s string) string {
	i := 0
	for i < len(s) && unreserved(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// unreserved reports whether c needs no encoding anywhere in a URI (RFC 3986,
// section 2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}
