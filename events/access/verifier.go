package access

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"
)

// maxOpened is the largest number of access tokens that a Verifier stores. The signature of
// one that is dropped is verified again.
const maxOpened = 4096

// Verifier verifies access tokens as Directory.Verify does, and stores those whose
// signature is valid, because verifying a signature takes longer than most requests. That
// a key has signed an access token stays true. Everything that can change is checked each
// time: whether the directory still has that key, its Until, and the time.
//
// An access token is stored by its digest. The zero Verifier is ready to use; its method
// may be called concurrently.
type Verifier struct {
	// Issuer is the iss that access tokens must have: the public URL of the token endpoint.
	// It keeps installations apart that have the same keys, as after a data directory was
	// copied. Empty for any. It must not be changed after the first use.
	Issuer string

	once   sync.Once
	opened *lru.Cache[[sha256.Size]byte, *opened] // not changed once they are there
}

// Verify returns what d.Verify returns. For an access token of another issuer the error is
// Unauthenticated.
func (v *Verifier) Verify(d Directory, accessToken string, now time.Time) (Claims, error) {
	var text [1024]byte // so that the access token, which is shorter, is not copied to the heap
	digest := sha256.Sum256(append(text[:0], accessToken...))
	v.once.Do(v.init)
	// A stored one is checked with the directory's key, whose Until may have changed.
	if known, ok := v.opened.Get(digest); ok {
		if key, ok := d.Key(known.key.ID()); ok && sameKey(key.JWK, known.key.JWK) {
			return opened{claims: known.claims, key: key}.at(now)
		}
	}
	o, err := d.open(accessToken)
	if err == nil && v.Issuer != "" && o.claims.Issuer != v.Issuer {
		err = fmt.Errorf("issued by %q, not by %q", o.claims.Issuer, v.Issuer)
	}
	if err != nil {
		return Claims{}, notValid(err)
	}
	v.opened.Add(digest, &o)
	return o.at(now)
}

// init makes the cache, before its first use.
func (v *Verifier) init() {
	var err error
	if v.opened, err = lru.New[[sha256.Size]byte, *opened](maxOpened); err != nil {
		panic(err) // only for a size below 1
	}
}

// sameKey reports whether both are the same ECDSA public key.
func sameKey(a, b jose.JSONWebKey) bool {
	public, ok := a.Key.(*ecdsa.PublicKey)
	other, okOther := b.Key.(*ecdsa.PublicKey)
	return ok && okOther && (public == other || public.Equal(other))
}
