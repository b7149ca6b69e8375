package main

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

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
)

const (
	// keyLookEvery is how often a server looks whether its token key was
	// replaced.
	keyLookEvery = 500 * time.Millisecond
	// keyOverlap is how long the key before stays in force, for requests that
	// were under way when the server went over to the new one.
	keyOverlap = 5 * time.Second
)

// keyring signs tokens with the key in the data directory. When another one is
// put in its place, it goes over to that as soon as the read model has applied
// it, so that no token is issued that would be refused, and retires those
// before: nobody but who signs knows when the last token of a key was issued.
type keyring struct {
	dir       dataDir
	outbox    *outbox.Outbox
	directory func() access.Directory
	log       *slog.Logger

	current atomic.Pointer[tokenKey]

	looking   sync.Mutex
	settled   bool   // the keys before the current one are retired
	complaint string // said last, so that it is said once
}

// tokenKey is a private key and the file it came from.
type tokenKey struct {
	*access.Signer
	file []byte
}

func (k *tokenKey) id() string { return k.Key(time.Time{}).ID() }

// openKeyring opens the data directory's key, made on first use, and makes
// sure that readers learn it.
func openKeyring(ctx context.Context, dir dataDir, o *outbox.Outbox, directory func() access.Directory, log *slog.Logger) (*keyring, error) {
	file, err := keyFile(dir.tokenKey(), access.NewKey)
	if err != nil {
		return nil, err
	}
	key, err := readTokenKey(file)
	if err != nil {
		return nil, err
	}
	if err := o.Accounts().AnnounceKey(ctx, key.Key(time.Now())); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.tokenKey(), err)
	}
	k := &keyring{dir: dir, outbox: o, directory: directory, log: log}
	k.current.Store(key)
	return k, nil
}

func readTokenKey(file []byte) (*tokenKey, error) {
	signer, err := access.NewSigner(file)
	return &tokenKey{signer, file}, err
}

// Issue makes a token with the key of the moment.
func (k *keyring) Issue(id, issuer, partner, secret string, now time.Time) (string, error) {
	return k.current.Load().Issue(id, issuer, partner, secret, now)
}

// id names the key that signs.
func (k *keyring) id() string { return k.current.Load().id() }

// works reports why a token that is issued now would be refused: it issues one
// and verifies it as all do to whom partners show theirs. The token names no
// partner and opens nothing.
func (k *keyring) works(now time.Time) error {
	directory := k.directory()
	if _, applied := directory.Key(k.id()); !applied {
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

// run looks after the key until ctx ends.
func (k *keyring) run(ctx context.Context) error {
	tick := time.NewTicker(keyLookEvery)
	defer tick.Stop()
	for {
		if err := k.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			k.complain(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look goes over to the key in the file if it is another one, and retires
// those before the current one. What does not work now is tried again.
func (k *keyring) look(ctx context.Context, now time.Time) error {
	k.looking.Lock()
	defer k.looking.Unlock()
	file, err := os.ReadFile(k.dir.tokenKey())
	if err != nil {
		return fmt.Errorf("look at the token key: %w", err)
	}
	if !bytes.Equal(file, k.current.Load().file) {
		if err := k.goOver(file); err != nil {
			return err
		}
	}
	directory := k.directory()
	if _, applied := directory.Key(k.id()); !applied || k.settled && !k.endsLate(directory, now) {
		return nil
	}
	retired, err := k.outbox.Accounts().RetireKeys(ctx, "signoff", k.id(), now.Add(keyOverlap))
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
func (k *keyring) endsLate(d access.Directory, now time.Time) bool {
	for _, key := range d.Keys() {
		if key.ID() != k.id() && key.Until.After(now.Add(2*keyOverlap)) {
			return true
		}
	}
	return false
}

func (k *keyring) goOver(file []byte) error {
	next, err := readTokenKey(file)
	if err != nil {
		return fmt.Errorf("the file %s was replaced: %w", k.dir.tokenKey(), err)
	}
	if key, ok := k.directory().Key(next.id()); !ok || !endless(key) {
		return fmt.Errorf("the token key was replaced by %s, which is not announced, or retired: signoff keys rotate does it in order", next.id())
	}
	k.current.Store(next)
	k.settled = false
	k.log.Info("tokens are signed with another key", "key", next.id())
	return nil
}

// complain logs what is wrong once, however often it is found.
func (k *keyring) complain(err error) {
	k.looking.Lock()
	defer k.looking.Unlock()
	if k.complaint != err.Error() {
		k.log.Error("the token key is not as it should be; tokens are signed with the one before", "key", k.id(), "error", err)
	}
	k.complaint = err.Error()
}
