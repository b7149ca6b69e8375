package callout

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/nats-io/jwt/v2"
)

const maxCredential = 4096 // bytes; the credentials that are issued have about 500

// credential is what a client presents: an access token, or a client secret.
type credential struct {
	client      string // the partner's id that it claims
	accessToken string
	secret      string
}

// credentialOf returns the credential in the options of a connection. It returns the zero
// credential, which no client has, if they are too long or contradict each other: an access
// token with a password, or with the name of another client.
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

// claimed returns the subject of an access token without verifying it; empty if there is none.
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
