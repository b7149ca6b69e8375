package overview

import "testing"

func TestWithoutPlacesRemovesPathsAndAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"dial tcp 127.0.0.1:4222: connect: connection refused":                          "dial tcp (address): connect: connection refused",
		"read tcp 10.4.2.17:51000->10.4.2.1:4222: i/o timeout":                          "read tcp (address)->(address): i/o timeout",
		"nats://[2001:db8::7]:4222 does not answer":                                     "(address) does not answer",
		"open /var/lib/signoff/outbox.db: no space left":                                "open (file): no space left",
		"open data/outbox.db: no space left":                                            "open (file): no space left",
		`"/home/a/keys/token.jwk" cannot be read`:                                       `"(file)" cannot be read`,
		"event 31 of study A/B, version 2.15.3, has 1310944 bytes; see /readyz (10054)": "event 31 of study A/B, version 2.15.3, has 1310944 bytes; see /readyz (10054)",
	} {
		if got := withoutPlaces(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
