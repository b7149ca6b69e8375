package callout

import (
	"testing"

	"github.com/nats-io/jwt/v2"
)

// Reading what a client presents never panics, and returns nothing that was not sent.
func FuzzCredential(f *testing.F) {
	for _, token := range []string{"", ".", "..", "a.e30.b", "a.eyJzdWIiOiJhY21lIn0.b", "a.eyJzdWIiOjF9.b", "a.bnVsbA.b", "e30.e30.e30.e30"} {
		f.Add(token, "acme", "secret")
	}
	f.Fuzz(func(t *testing.T, token, user, password string) {
		c := credentialOf(connectOptions(token, user, password))
		if c.accessToken != "" && (c.accessToken != token || password != "" || user != "" && user != c.client) {
			t.Errorf("%q, %q, %q are read as %+v", token, user, password, c)
		}
		if c.secret != "" && (c.client != user || c.secret != password || token != "") {
			t.Errorf("%q, %q, %q are read as %+v", token, user, password, c)
		}
	})
}

func connectOptions(token, user, password string) jwt.ConnectOptions {
	return jwt.ConnectOptions{Token: token, Username: user, Password: password}
}
