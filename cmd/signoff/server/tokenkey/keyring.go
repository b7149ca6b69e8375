// Package tokenkey keeps the key that signs access tokens, and replaces it.
package tokenkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
)

const (
	// keyLookEvery is how often a server looks whether its token key was
	// replaced.
	keyLookEvery = 500 * time.Millisecond
	// keyOverlap is how long the key before stays in force, for requests that
	// were under way when the server went over to the new one.
	KeyOverlap = 5 * time.Second
)

// Keyring signs tokens with the key in the data directory. When another one is
// put in its place, it goes over to that as soon as the read model has applied
// it, so that no token is issued that would be refused, and retires those
// before: nobody but who signs knows when the last token of a key was issued.
type Keyring struct {
	dir       datadir.Dir
	outbox    *outbox.Outbox
	directory func() access.Directory
	log       *slog.Logger

	Current atomic.Pointer[Key]

	looking   sync.Mutex
	settled   bool   // the keys before the current one are retired
	complaint string // said last, so that it is said once
}

// Key is a private key and the file it came from.
type Key struct {
	*access.Signer
	File []byte
}

func (k *Key) ID() string { return k.Key(time.Time{}).ID() }

// Open opens the data directory's key, made on first use, and makes
// sure that readers learn it.
func Open(ctx context.Context, dir datadir.Dir, o *outbox.Outbox, directory func() access.Directory, log *slog.Logger) (*Keyring, error) {
	file, err := datadir.KeyFile(dir.TokenKey(), access.NewKey)
	if err != nil {
		return nil, err
	}
	key, err := Read(file)
	if err != nil {
		return nil, err
	}
	if err := o.Accounts().AnnounceKey(ctx, key.Key(time.Now())); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.TokenKey(), err)
	}
	k := &Keyring{dir: dir, outbox: o, directory: directory, log: log}
	k.Current.Store(key)
	return k, nil
}

func Read(file []byte) (*Key, error) {
	signer, err := access.NewSigner(file)
	return &Key{signer, file}, err
}

// Issue makes a token with the key of the moment.
func (k *Keyring) Issue(id, issuer, partner, secret string, now time.Time) (string, error) {
	return k.Current.Load().Issue(id, issuer, partner, secret, now)
}

// ID names the key that signs.
func (k *Keyring) ID() string { return k.Current.Load().ID() }

// Check reports why a token that is issued now would be refused: it issues one
// and verifies it as all do to whom partners show theirs. The token names no
// partner and opens nothing.
func (k *Keyring) Check(now time.Time) error {
	directory := k.directory()
	if _, applied := directory.Key(k.ID()); !applied {
		return errors.New("the key that signs tokens is not applied yet; tokens would be refused")
	}
	token, err := k.Issue("readiness", "readiness", "/readyz", "", now)
	if err != nil {
		return fmt.Errorf("no token can be issued: %w", err)
	}
	if _, err := directory.Verify(token, now); err != nil {
		return fmt.Errorf("a token that was issued just now is refused; see signoff keys list and the log: %w", err)
	}
	return nil
}

// Run looks after the key until ctx ends.
func (k *Keyring) Run(ctx context.Context) error {
	tick := time.NewTicker(keyLookEvery)
	defer tick.Stop()
	for {
		if err := k.Look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			k.complain(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look goes over to the key in the file if it is another one, and retires
// those before the current one. What does not work now is tried again.
func (k *Keyring) Look(ctx context.Context, now time.Time) error {
	k.looking.Lock()
	defer k.looking.Unlock()
	file, err := os.ReadFile(k.dir.TokenKey())
	if err != nil {
		return fmt.Errorf("look at the token key: %w", err)
	}
	if !bytes.Equal(file, k.Current.Load().File) {
		if err := k.goOver(file); err != nil {
			return err
		}
	}
	directory := k.directory()
	if _, applied := directory.Key(k.ID()); !applied || k.settled && !k.endsLate(directory, now) {
		return nil
	}
	retired, err := k.outbox.Accounts().RetireKeys(ctx, "signoff", k.ID(), now.Add(KeyOverlap))
	if err != nil {
		return fmt.Errorf("retire the token keys before: %w", err)
	}
	for _, key := range retired {
		k.log.Info("token key retired", "key", key.ID(), "until", key.Until)
	}
	k.settled, k.complaint = true, ""
	return nil
}

// endsLate reports whether a key is retired, but much later than one that is
// retired now: by a clock that was ahead. Until then it would be accepted, which
// may be a year, although it may have been retired because others know it.
func (k *Keyring) endsLate(d access.Directory, now time.Time) bool {
	for _, key := range d.Keys() {
		if key.ID() != k.ID() && key.Until.After(now.Add(2*KeyOverlap)) {
			return true
		}
	}
	return false
}

func (k *Keyring) goOver(file []byte) error {
	next, err := Read(file)
	if err != nil {
		return fmt.Errorf("the file %s was replaced: %w", k.dir.TokenKey(), err)
	}
	if key, ok := k.directory().Key(next.ID()); !ok || !endless(key) {
		return fmt.Errorf("the token key was replaced by %s, which is not announced, or retired: signoff keys rotate does it in order", next.ID())
	}
	k.Current.Store(next)
	k.settled = false
	k.log.Info("tokens are signed with another key", "key", next.ID())
	return nil
}

// complain logs what is wrong once, however often it is found.
func (k *Keyring) complain(err error) {
	k.looking.Lock()
	defer k.looking.Unlock()
	if k.complaint != err.Error() {
		k.log.Error("the token key is not as it should be; tokens are signed with the one before", "key", k.ID(), "error", err)
	}
	k.complaint = err.Error()
}
