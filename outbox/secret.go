package outbox

import (
	"crypto/rand"
	"encoding/base64"
)

// newSecret makes a client secret: 32 random bytes in base64url.
func newSecret() string {
	b := make([]byte, 32)
	fill(rand.Reader, b)
	return base64.RawURLEncoding.EncodeToString(b)
}
