package accounts

import (
	"crypto/rand"
	"encoding/base64"
)

// newSecret makes a client secret: 32 random bytes in base64url.
func newSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
