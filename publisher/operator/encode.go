package operator

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// header of every JWT of NATS.
const header = `{"typ":"JWT","alg":"ed25519-nkey"}`

// claimsVersion is that of the claims that package jwt makes.
const claimsVersion = 2

// encode signs claims as package jwt does, but with the given time of issue in
// place of the clock's: the same claims, key and time make the same text.
//
// The identity covers the whole claims. Package jwt leaves out what is special
// to accounts, so that two of one second have one identity, and a server that
// has the first does not take over the second from the others. The claims are not
// checked: servers do so before they store an account.
func encode(claims jwt.Claims, by nkeys.KeyPair, issued int64) (string, error) {
	switch c := claims.(type) {
	case *jwt.OperatorClaims:
		c.Type, c.Version = jwt.OperatorClaim, claimsVersion
	case *jwt.AccountClaims:
		c.Type, c.Version = jwt.AccountClaim, claimsVersion
		slices.SortFunc(c.Exports, func(a, b *jwt.Export) int { return cmp.Compare(a.Subject, b.Subject) })
		slices.SortFunc(c.Imports, func(a, b *jwt.Import) int { return cmp.Compare(a.Subject, b.Subject) })
	case *jwt.UserClaims:
		c.Type, c.Version = jwt.UserClaim, claimsVersion
	default:
		return "", fmt.Errorf("%T are not claims that are issued here", claims)
	}
	data := claims.Claims()
	var err error
	if data.Issuer, err = by.PublicKey(); err != nil {
		return "", fmt.Errorf("sign claims: %w", err)
	}
	data.IssuedAt, data.ID = issued, ""
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	digest := sha256.Sum256(body)
	data.ID = hex.EncodeToString(digest[:])
	if body, err = json.Marshal(claims); err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := by.Sign([]byte(text))
	if err != nil {
		return "", fmt.Errorf("sign claims: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// issuedAt returns when a JWT was issued, and zero for text that is none. It
// does not ask who has signed it.
func issuedAt(text string) int64 {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return 0
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct {
		IssuedAt int64 `json:"iat"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return 0
	}
	return claims.IssuedAt
}

// later returns a time of issue that servers take for later than those of what
// they store, whatever the clock shows.
func later(now time.Time, stored ...int64) int64 {
	issued := now.Unix()
	for _, s := range stored {
		if s < math.MaxInt64 {
			s++
		}
		issued = max(issued, s)
	}
	return issued
}
