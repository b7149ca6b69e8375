package access

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"
)

// maxOpened bounds the access tokens that a Verifier remembers. One that is
// dropped costs another check of its signature, and opens nothing.
const maxOpened = 4096

// Verifier verifies access tokens as Directory.Verify does, and remembers those whose
// signature is valid, because checking a signature costs more than most of what a
// request asks for. That a key has signed an access token stays true. Everything that
// can change is checked each time: whether the directory still has that key, its
// Until, and the time.
//
// An access token is remembered by its digest. The zero Verifier is ready to use; its
// method may be called concurrently.
type Verifier struct {
	once   sync.Once
	opened *lru.Cache[[sha256.Size]byte, *opened] // not changed once they are there
}

// Verify returns what d.Verify returns.
func (v *Verifier) Verify(d Directory, accessToken string, now time.Time) (Claims, error) {
	digest := sha256.Sum256([]byte(accessToken))
	v.once.Do(v.init)
	if known, ok := v.opened.Get(digest); ok {
		if key, ok := d.Key(known.key.ID()); ok && sameKey(key.JWK, known.key.JWK) {
			return opened{claims: known.claims, key: key}.at(now)
		}
	}
	o, err := d.open(accessToken)
	if err != nil {
		return Claims{}, notValid(err)
	}
	v.opened.Add(digest, &o)
	return o.at(now)
}

func (v *Verifier) init() {
	var err error
	if v.opened, err = lru.New[[sha256.Size]byte, *opened](maxOpened); err != nil {
		panic(err) // only for a size below 1
	}
}

func sameKey(a, b jose.JSONWebKey) bool {
	public, ok := a.Key.(*ecdsa.PublicKey)
	other, okOther := b.Key.(*ecdsa.PublicKey)
	return ok && okOther && (public == other || public.Equal(other))
}
