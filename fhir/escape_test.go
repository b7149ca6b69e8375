package fhir_test

import (
	"net/url"
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/fhir"
)

func TestQueryValuesArePercentEncoded(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"FHIR-T":               "FHIR-T",
		"aZ09-._~":             "aZ09-._~",
		"a b+c&d=e#f?g/h%i":    "a%20b%2Bc%26d%3De%23f%3Fg%2Fh%25i",
		"é漢😀":                  "%C3%A9%E6%BC%A2%F0%9F%98%80",
		`"<>!'()*,;:@$[]{}|\^`: "%22%3C%3E%21%27%28%29%2A%2C%3B%3A%40%24%5B%5D%7B%7D%7C%5C%5E",
	} {
		if got := fhir.EscapeQuery(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestQueryValuesAreReadBackByAnyone(t *testing.T) {
	harmless := regexp.MustCompile(`^([A-Za-z0-9._~-]|%[0-9A-F]{2})*$`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		escaped := fhir.EscapeQuery(text)
		form, err := url.QueryUnescape(escaped)
		if err != nil || form != text || !harmless.MatchString(escaped) {
			t.Fatalf("%q is %q, back %q, %v", text, escaped, form, err)
		}
		if path, err := url.PathUnescape(escaped); err != nil || path != text {
			t.Fatalf("%q, as a path %q, %v", text, path, err)
		}
	})
}
