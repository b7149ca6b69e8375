package callout

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/nats-io/jwt/v2"
)

const maxCredential = 4096 // bytes; ours have about 500

// credential is what a client presents: an access token, or a client secret.
type credential struct {
	client      string // the partner's id that it claims
	accessToken string
	secret      string
}

// credentialOf reads the options of a connection. What is too long, or there in
// both forms for different clients, is the credential of no client.
func credentialOf(o jwt.ConnectOptions) credential {
	if len(o.Token)+len(o.Username)+len(o.Password) > maxCredential {
		return credential{}
	}
	if o.Token == "" {
		return credential{client: o.Username, secret: o.Password}
	}
	c := credential{client: claimed(o.Token), accessToken: o.Token}
	if o.Password != "" || o.Username != "" && o.Username != c.client {
		return credential{}
	}
	return c
}

// claimed returns the subject of an access token, verified or not.
func claimed(accessToken string) string {
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Subject
}
