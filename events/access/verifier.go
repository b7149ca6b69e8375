package access

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxOpened bounds the tokens that a Verifier remembers.
const maxOpened = 4096

// Verifier verifies tokens exactly as Directory.Verify does, and remembers
// which signatures it has found good, because checking one costs more than
// much of the work that a request asks for. That a key has signed a token
// stays true; all that can change is asked each time: whether the directory
// still has that key, until when it was in force, and what time it is.
//
// Only tokens with a good signature are remembered, by their digest. The zero
// Verifier is ready; its method may be called concurrently.
type Verifier struct {
	mu     sync.RWMutex
	opened map[[sha256.Size]byte]opened
}

// Verify checks a token against the directory's keys and returns what it says.
// The error's code is Expired or Unauthenticated.
func (v *Verifier) Verify(d Directory, token string, now time.Time) (Claims, error) {
	digest := sha256.Sum256([]byte(token))
	v.mu.RLock()
	o, known := v.opened[digest]
	v.mu.RUnlock()
	key, there := d.Key(o.key.ID())
	if known && there && sameKey(key.JWK, o.key.JWK) {
		o.key = key
		return o.at(now)
	}
	o, err := d.open(token)
	if err != nil {
		return Claims{}, notValid(err)
	}
	v.remember(digest, o)
	return o.at(now)
}

func (v *Verifier) remember(digest [sha256.Size]byte, o opened) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened == nil || len(v.opened) >= maxOpened {
		v.opened = make(map[[sha256.Size]byte]opened)
	}
	v.opened[digest] = o
}

func sameKey(a, b jose.JSONWebKey) bool {
	public, ok := a.Key.(*ecdsa.PublicKey)
	other, okOther := b.Key.(*ecdsa.PublicKey)
	return ok && okOther && public.Equal(other)
}
