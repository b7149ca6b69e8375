package operator_test

import (
	"testing"

	"github.com/nats-io/nats-server/v2/conf"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// Every text is read by the server as it was written.
func TestQuotedTextIsReadAsItWas(t *testing.T) {
	every := make([]byte, 0, 256)
	texts := []string{"", "plain", "$2a$11$x", "/data/\a\b\v\f\u200bé\U0001f600", "%s\\x41", "# no comment", "{[(\"'`)]}"}
	for b := range 256 {
		every = append(every, byte(b))
		texts = append(texts, string([]byte{byte(b)}), string([]byte{'a', byte(b), '1'}))
	}
	for _, text := range append(texts, string(every)) {
		written := "a {\n  b: " + operator.Quote(text) + "\n}\n" + operator.Resolver(text)
		read, err := conf.Parse(written)
		if err != nil {
			t.Fatalf("%q: %v in\n%s", text, err, written)
		}
		if got := read["a"].(map[string]any)["b"]; got != text {
			t.Errorf("%q is read as %q", text, got)
		}
		if got := read["resolver"].(map[string]any)["dir"]; got != text {
			t.Errorf("a directory %q is read as %q", text, got)
		}
	}
}
