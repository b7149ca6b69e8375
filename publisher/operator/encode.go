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

// header is the header of every JWT of NATS.
const header = `{"typ":"JWT","alg":"ed25519-nkey"}`

// claimsVersion is the version of the claims that package jwt makes.
const claimsVersion = 2

// encode returns the JWT with these claims, signed by a key. It sets the issuer, the
// identity (jti) and the time of issue in the claims. Package jwt takes the time from
// the clock; here the same claims, key and time make the same text.
//
// The identity is a digest of all claims. That of package jwt leaves out what only
// accounts have. So two versions of an account from the same second would have one
// identity, and a server that has the first would not take over the second from other
// servers. The claims are not checked: servers do so before they store an account.
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

// issuedAt returns the time of issue of a JWT, and zero for text that is no JWT. It
// does not check the signature.
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

// later returns a time of issue: now, or one second after the latest of the stored
// times of issue if the clock is not past that.
func later(now time.Time, stored ...int64) int64 {
	issued := now.Unix()
	for _, s := range stored {
		if s < math.MaxInt64 { // a server may return any number
			s++
		}
		issued = max(issued, s)
	}
	return issued
}
