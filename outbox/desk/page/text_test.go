package page_test

import (
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

func TestInvisibleCharactersAreShown(t *testing.T) {
	for text, want := range map[string]string{
		"01-704 Müller 辻 ▲": "01-704 Müller 辻 ▲",
		"a\u202eb\u200b":    "aU+202EbU+200B",
		"a\u00a0b\x00":      "aU+00A0bU+0000",
		"a\u3164b\uffa0":    "aU+3164bU+FFA0", // letters without a shape
		"a\u034fb\ufe0f":    "aU+034FbU+FE0F", // marks without one
		"a\u2800b":          "aU+2800b",       // a symbol without dots
	} {
		if got := page.Visible(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
