package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/alexedwards/argon2id"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// cost is the present cost of hashing a password. A stored hash states its own
// cost, with which it is checked; after a success it is replaced by one of the
// present cost. So these numbers may be changed at any time.
var cost = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// Limits of a stored hash, so that a damaged or hostile row cannot exhaust the
// machine: two checks at once use at most 256 MiB, and each takes about a second
// at most. A short key could be found by trying; an empty one would match every
// password.
const (
	maxHash   = 512       // characters
	maxMemory = 128 << 10 // KiB
	maxWork   = 1 << 20   // KiB written, over all iterations
	minSalt   = 8         // bytes
	minKey    = 16        // bytes
)

const (
	checksAtOnce  = 2
	checkPatience = 2 * time.Second
	rememberFor   = 15 * time.Minute
	maxRemembered = 4096 // passwords, after a change the former one too

	maxPassword = 1024 // bytes
)

// MinPassword is the least length of a password, in characters.
const MinPassword = 12

// passwords hashes and checks passwords. A successful check is remembered for
// 15 minutes as a keyed hash, so that a series of signings, each with user and
// password, costs one.
type passwords struct {
	turn  chan struct{} // capacity checksAtOnce
	key   []byte        // of the remembered hashes; never leaves memory
	decoy string        // a hash of the present cost that no password matches

	// Until when the success of a check is remembered, by its tag. If the cache drops
	// one, the password is checked again. (The caches of package expirable do not fit:
	// their clock cannot be set, and each has a goroutine that never ends.)
	remembered *lru.Cache[[sha256.Size]byte, time.Time]
}

func newPasswords() passwords {
	remembered, err := lru.New[[sha256.Size]byte, time.Time](maxRemembered)
	if err != nil {
		panic(err) // only for a size below 1
	}
	p := passwords{turn: make(chan struct{}, checksAtOnce), key: make([]byte, 32), remembered: remembered}
	rand.Read(p.key)
	b64 := base64.RawStdEncoding
	p.decoy = fmt.Sprintf("$argon2id$v=19$%s$%s$%s", costOf(cost),
		b64.EncodeToString(make([]byte, cost.SaltLength)), b64.EncodeToString(make([]byte, cost.KeyLength)))
	return p
}

// costOf returns a cost as a stored hash states it.
func costOf(p argon2id.Params) string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", p.Memory, p.Iterations, p.Parallelism)
}

// hash returns the hash of a password in PHC string format.
func hash(password string) (string, error) {
	return argon2id.CreateHash(norm.NFKC.String(password), &cost)
}

// check reports whether the password matches the stored hash, with the cost that the
// hash states. It takes the same time whether it matches or not.
func check(password, stored string) (matches bool, err error) {
	password = norm.NFKC.String(password) // of which checkStrength limits the length
	if len(password) > maxPassword {
		password = "" // nobody has so long a password, nor an empty one
	}
	if _, err := readCost(stored); err != nil {
		return false, err
	}
	return argon2id.ComparePasswordAndHash(password, stored)
}

// renew returns a hash of the present cost for a password that matches the stored hash.
// It returns an empty string if the stored hash has the present cost already, or if
// hashing fails. The password may be shorter than a new one must be.
func renew(password, stored string) string {
	if p, err := readCost(stored); err != nil || p == cost {
		return ""
	}
	renewed, err := hash(password)
	if err != nil {
		return ""
	}
	return renewed
}

// readCost returns the cost of checking a stored hash. It returns an error unless
// the hash is well-formed and within the limits.
func readCost(stored string) (argon2id.Params, error) {
	if len(stored) > maxHash {
		return argon2id.Params{}, fmt.Errorf("the hash has %d characters; at most %d are allowed", len(stored), maxHash)
	}
	params, _, _, err := argon2id.DecodeHash(stored)
	if err != nil {
		return argon2id.Params{}, fmt.Errorf("the hash cannot be read: %w", err)
	}
	p := *params
	memory := max(uint64(p.Memory), 8*uint64(p.Parallelism)) // each thread has 8 KiB at least
	switch {
	case p.Iterations == 0 || p.Parallelism == 0:
		err = errors.New("the hash has no iterations or no threads")
	case p.SaltLength < minSalt || p.KeyLength < minKey:
		err = fmt.Errorf("the hash has a salt of %d bytes and a key of %d; at least %d and %d are needed", p.SaltLength, p.KeyLength, minSalt, minKey)
	case memory > maxMemory:
		err = fmt.Errorf("the hash asks for %d KiB of memory; at most %d are allowed", memory, maxMemory)
	case memory*uint64(p.Iterations) > maxWork:
		err = fmt.Errorf("the hash asks for %d iterations over %d KiB; at most %d KiB in all are allowed", p.Iterations, memory, maxWork)
	}
	return p, err
}

// wait waits for a turn to check a password. The caller ends the turn with done. The
// error is Throttled after two seconds, or the cause of ctx if that ends before.
func (p *passwords) wait(ctx context.Context) (done func(), err error) {
	timer := time.NewTimer(checkPatience)
	defer timer.Stop()
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
		return nil, &events.Error{
			Code: events.Throttled, Message: "too many sign-ins at once; try again", RetryAfter: checkPatience,
		}
	}
}

// tag returns the keyed hash under which a successful check is remembered. It covers the
// stored hash, so a password that was replaced since is not remembered.
func (p *passwords) tag(user, password, stored string) (tag [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.key)
	fmt.Fprintf(mac, "%s\x00%s\x00%s", user, stored, norm.NFKC.String(password))
	mac.Sum(tag[:0])
	return tag
}

// remember stores for 15 minutes that the check of this tag was successful.
func (p *passwords) remember(tag [sha256.Size]byte, now time.Time) {
	p.remembered.Add(tag, now.Add(rememberFor))
}

// remembers reports whether a check of this tag was successful in the last 15 minutes. One
// that was remembered for longer is of a clock that was set back since.
func (p *passwords) remembers(tag [sha256.Size]byte, now time.Time) bool {
	until, ok := p.remembered.Get(tag)
	return ok && now.Before(until) && until.Sub(now) <= rememberFor
}
