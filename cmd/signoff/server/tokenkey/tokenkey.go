// Package tokenkey keeps the private key that signs access tokens, and replaces
// it: see Keyring for the running server and Rotate for the command.
//
// A rotation replaces the key by a new one. A public key is announced by an access event.
// A key is applied once the server's directory contains it: from then on its access tokens
// are accepted. A key is retired by an access event with an Until: access tokens that it
// signed before are accepted until they expire.
//
// At each step of a rotation all access tokens that were issued and have not expired
// are accepted, and a rotation that was interrupted at any step can be continued. The
// package does not verify access tokens.
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
	// stepEvery is how often a server checks for a requested rotation.
	stepEvery = 500 * time.Millisecond
	// rotatingEvery is how often it checks while one is under way.
	rotatingEvery = 20 * time.Millisecond
	// Overlap is how long the previous key stays in force, for requests that were
	// under way when the server began to sign with the new one.
	Overlap = 5 * time.Second
)

// Key is a private key and the file it came from.
type Key struct {
	*access.Signer
	File []byte
}

// ID returns the id by which access tokens name the key.
func (k *Key) ID() string { return k.Key(time.Time{}).ID() }

// Read reads the content of a key file.
func Read(file []byte) (*Key, error) {
	signer, err := access.NewSigner(file)
	return &Key{signer, file}, err
}

// Keyring signs access tokens with the key in the data directory, and carries out
// the rotations that are requested in the outbox. Nothing else may change the key file
// while a server runs; see compareFile.
type Keyring struct {
	Step func(name string) // called after each step of a rotation; for tests

	dir       datadir.Dir
	outbox    *outbox.Outbox
	directory func() access.Directory
	log       *slog.Logger

	current atomic.Pointer[Key]

	mu           sync.Mutex
	rotating     *rotator // the rotation that is under way; nil: none
	olderRetired bool     // the keys that were announced before the current one are retired
	lastLogged   string   // the last error that logOnce logged; empty after a success
}

// Open opens the data directory's key, which it makes on first use, and announces its
// public key. Directory returns the applied partners and keys.
func Open(ctx context.Context, dir datadir.Dir, o *outbox.Outbox, directory func() access.Directory, log *slog.Logger) (*Keyring, error) {
	file, err := datadir.KeyFile(dir.TokenKey(), access.NewKey)
	if err != nil {
		return nil, err
	}
	key, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir.TokenKey(), err)
	}
	if err := o.Accounts().AnnounceKey(ctx, key.Key(time.Now())); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.TokenKey(), err)
	}
	k := &Keyring{Step: func(string) {}, dir: dir, outbox: o, directory: directory, log: log}
	k.current.Store(key)
	return k, nil
}

// Issue makes an access token with the current key.
func (k *Keyring) Issue(id, issuer, partner, secret string, now time.Time) (string, error) {
	return k.current.Load().Issue(id, issuer, partner, secret, now)
}

// Current returns the key that signs.
func (k *Keyring) Current() *Key { return k.current.Load() }

// ID returns the id of the key that signs.
func (k *Keyring) ID() string { return k.Current().ID() }

// Check returns why an access token that is issued now would be refused, or nil. It issues
// one and verifies it as the read API and NATS do. The subject of that token is no
// partner, so it opens nothing.
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

// Run carries out rotations until ctx ends.
func (k *Keyring) Run(ctx context.Context) error {
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	for {
		err := k.Advance(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			k.logOnce(err)
		}
		if k.underway() && err == nil {
			tick.Reset(rotatingEvery)
		} else {
			tick.Reset(stepEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Advance carries out a requested rotation as far as it can go now, and retires the
// keys before the current one. What fails is tried again at the next call.
func (k *Keyring) Advance(ctx context.Context, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.rotate(ctx, now); err != nil {
		return err
	}
	if err := k.retire(ctx, now); err != nil {
		return err
	}
	if err := k.compareFile(); err != nil {
		return err
	}
	k.lastLogged = ""
	return nil
}

// underway reports whether a rotation was begun and is not finished.
func (k *Keyring) underway() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rotating != nil
}

// rotate carries out the requested rotation, if there is one, as far as it can go now.
func (k *Keyring) rotate(ctx context.Context, now time.Time) error {
	request, pending, err := k.outbox.Accounts().PendingKeyRotation(ctx)
	if err != nil || !pending {
		k.rotating = nil // if it was under way, rotate begins it anew at the next call
		return err
	}
	if k.rotating == nil {
		k.rotating = &rotator{
			dir: k.dir, outbox: k.outbox, step: k.Step, current: k.Current(),
			applied: func(id string) bool { _, applied := k.directory().Key(id); return applied },
			placed: func(key *Key) {
				k.current.Store(key)
				k.log.Info("access tokens are signed with another key", "key", key.ID())
			},
		}
	}
	done, retired, err := k.rotating.advance(ctx, request, now, now.Add(Overlap))
	if done {
		k.rotating, k.olderRetired = nil, true
		k.logRetired(retired)
	}
	return err
}

// retire retires the keys that were announced before the current one, once the current one
// is applied. It does so once after each start, because the key file may have been replaced
// while no server ran, and again while endsLate reports true.
func (k *Keyring) retire(ctx context.Context, now time.Time) error {
	directory := k.directory()
	if _, applied := directory.Key(k.ID()); !applied || k.rotating != nil || k.olderRetired && !k.endsLate(directory, now) {
		return nil
	}
	retired, err := k.outbox.Accounts().RetireKeys(ctx, "signoff", k.ID(), now.Add(Overlap))
	if err != nil {
		return fmt.Errorf("retire the previous keys for access tokens: %w", err)
	}
	k.olderRetired = true
	k.logRetired(retired)
	return nil
}

func (k *Keyring) logRetired(retired []access.Key) {
	for _, key := range retired {
		k.log.Info("key for access tokens retired", "key", key.ID(), "until", key.Until)
	}
}

// endsLate reports whether the Until of a retired key is much later than that of a key
// that is retired now. That happens if a clock was ahead, perhaps by a year. The key would
// be accepted all that time, although it may have been retired because others know it.
func (k *Keyring) endsLate(d access.Directory, now time.Time) bool {
	for _, key := range d.Keys() {
		if key.ID() != k.ID() && key.Until.After(now.Add(2*Overlap)) {
			return true
		}
	}
	return false
}

// compareFile returns an error if the key file is not that of the current key: the
// next start would use it.
func (k *Keyring) compareFile() error {
	file, err := os.ReadFile(k.dir.TokenKey())
	if err != nil {
		return fmt.Errorf("read the key for access tokens: %w", err)
	}
	if !bytes.Equal(file, k.Current().File) {
		return fmt.Errorf("%s was changed, but not by signoff keys rotate; put back the key %s, or make a new one with signoff keys rotate",
			k.dir.TokenKey(), k.ID())
	}
	return nil
}

// logOnce logs an error, unless it is the one that was logged last.
func (k *Keyring) logOnce(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lastLogged != err.Error() {
		k.log.Error("the key for access tokens needs attention; they are signed with the current one", "key", k.ID(), "error", err)
	}
	k.lastLogged = err.Error()
}
