package outbox

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// The cost of a password check (argon2id), and what may wait for one: two
// checks at once hold at most 38 MiB.
const (
	argonMemory   = 19 * 1024 // KiB
	argonTime     = 2
	argonThreads  = 1
	argonKey      = 32 // bytes
	argonSalt     = 16 // bytes
	checksAtOnce  = 2
	checkPatience = 2 * time.Second
	rememberFor   = 15 * time.Minute

	minPassword = 12   // characters
	maxPassword = 1024 // bytes
)

var argonPrefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonThreads)

// passwords hashes and checks passwords. A successful check is remembered for
// 15 minutes as a keyed hash, so that a series of signings, each with user and
// password, costs one.
type passwords struct {
	random io.Reader
	turn   chan struct{} // capacity checksAtOnce
	key    []byte        // of the remembered hashes; never leaves memory
	decoy  string        // a hash that no password opens

	mu         *sync.Mutex
	remembered map[[sha256.Size]byte]time.Time // until when
}

func newPasswords(random io.Reader) passwords {
	p := passwords{
		random: random, turn: make(chan struct{}, checksAtOnce), key: make([]byte, 32),
		mu: &sync.Mutex{}, remembered: make(map[[sha256.Size]byte]time.Time),
	}
	fill(random, p.key)
	p.decoy = p.encode(p.salt(), make([]byte, argonKey))
	return p
}

// fill panics where there is no randomness: nothing safe can follow.
func fill(random io.Reader, b []byte) {
	if _, err := io.ReadFull(random, b); err != nil {
		panic(fmt.Errorf("read randomness: %w", err))
	}
}

func (p *passwords) salt() []byte {
	salt := make([]byte, argonSalt)
	fill(p.random, salt)
	return salt
}

func (p *passwords) encode(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return argonPrefix + b64.EncodeToString(salt) + "$" + b64.EncodeToString(key)
}

// hash refuses a weak password and gives what is stored of another, in PHC
// string format.
func (p *passwords) hash(password string) (string, error) {
	password = norm.NFKC.String(password)
	switch {
	case !utf8.ValidString(password):
		return "", events.Fieldf("password", "is not valid UTF-8")
	case utf8.RuneCountInString(password) < minPassword:
		return "", events.Fieldf("password", "must have at least %d characters", minPassword)
	case len(password) > maxPassword:
		return "", events.Fieldf("password", "must have at most %d bytes", maxPassword)
	}
	salt := p.salt()
	return p.encode(salt, derive(password, salt)), nil
}

func derive(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
}

// opens computes whether the password is that of the stored hash. It takes the
// same time whatever the answer.
func (p *passwords) opens(password, stored string) bool {
	rest, _ := strings.CutPrefix(stored, argonPrefix)
	saltText, keyText, _ := strings.Cut(rest, "$")
	salt, errSalt := base64.RawStdEncoding.DecodeString(saltText)
	key, errKey := base64.RawStdEncoding.DecodeString(keyText)
	got := derive(norm.NFKC.String(password), salt)
	return errSalt == nil && errKey == nil && subtle.ConstantTimeCompare(got, key) == 1
}

// wait takes a turn to check; the caller gives it back by done. It is
// Throttled after two seconds.
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

// tag is what is remembered of a success. A changed password changes it.
func (p *passwords) tag(user, password, stored string) (tag [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.key)
	fmt.Fprintf(mac, "%s\x00%s\x00%s", user, stored, norm.NFKC.String(password))
	mac.Sum(tag[:0])
	return tag
}

func (p *passwords) remember(tag [sha256.Size]byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, until := range p.remembered {
		if !now.Before(until) {
			delete(p.remembered, t)
		}
	}
	p.remembered[tag] = now.Add(rememberFor)
}

func (p *passwords) remembers(tag [sha256.Size]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.remembered[tag])
}
