package tokenkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/poll"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// TakeOverTimeout is how long a rotation waits until the running server signs
// with the new key.
var TakeOverTimeout = 5 * time.Second

// Rotation replaces the key that signs tokens. Every step leaves a system that
// works, should it end there, and the next rotation goes on with one that did:
//
//	written    the new key is in a file of its own
//	announced  it is on the log
//	applied    a running server accepts tokens of both keys
//	placed     it is in the file of the old one; a running server signs with it
//	retired    the old one is announced to be no longer in force, by the server
//	           as soon as it no longer signs with it, or here where none runs
//
// Tokens that the old key has signed stay valid until they expire.
type Rotation struct {
	Dir    datadir.Dir
	Outbox *outbox.Outbox
	By     string
	Clock  func() time.Time
	Step   func(name string) // called after each step; for tests

	server bool // one is running
	next   *Key
}

// Run does it and returns the new key and those retired.
func (r *Rotation) Run(ctx context.Context) (current string, retired []access.Key, err error) {
	unlock, err := r.lock()
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"written", r.write}, {"announced", r.announce}, {"applied", r.awaitApplied}, {"placed", r.place}, {"retired", r.retire}} {
		if err := step.do(ctx); err != nil {
			return "", nil, err
		}
		r.Step(step.name)
	}
	retired, err = r.others(ctx, func(k access.Key) bool { return r.Clock().Before(k.Until.Add(access.Lifetime)) })
	return r.next.ID(), retired, errors.Join(err, os.Remove(r.Dir.NextTokenKey()))
}

// lock makes this the only rotation. Where no server is running, none may
// start before it is done: it would sign with a key that is being retired.
func (r *Rotation) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(r.Dir.TokenKey()), 0o700); err != nil {
		return nil, fmt.Errorf("make the key directory: %w", err)
	}
	f, err := os.OpenFile(r.Dir.NextTokenKey()+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the token key: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(errors.New("another signoff keys rotate is at work"), f.Close())
	}
	free, err := r.Dir.Lock("keys rotate")
	if err == nil {
		return func() { free(); _ = f.Close() }, nil
	}
	if _, r.server = r.Dir.Running(); !r.server {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// write makes the new key, or finds that of a rotation that was cut short.
func (r *Rotation) write(ctx context.Context) error {
	file, err := os.ReadFile(r.Dir.NextTokenKey())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the new token key: %w", err)
	}
	if err == nil {
		if r.next, err = Read(file); err == nil {
			open, err := r.isOpen(ctx)
			if open || err != nil {
				return err
			}
		}
	}
	if file, err = access.NewKey(); err != nil {
		return err
	}
	if err := datadir.WriteFile(r.Dir.NextTokenKey(), file); err != nil {
		return fmt.Errorf("write the new token key: %w", err)
	}
	r.next, err = Read(file)
	return err
}

// isOpen reports whether the rotation to r.next was cut short and can go on: it
// is not in place yet, or another key is still in force. What was retired does
// not come back, and what was overtaken by another key, one that comes later in
// the log, would not retire that.
func (r *Rotation) isOpen(ctx context.Context) (bool, error) {
	keys, err := r.Outbox.Accounts().Keys(ctx)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(keys, func(k access.Key) bool { return k.ID() == r.next.ID() })
	if at < 0 {
		return true, nil // not even announced
	}
	overtaken := slices.ContainsFunc(keys[at+1:], endless)
	alone := !overtaken && !slices.ContainsFunc(keys[:at], endless)
	placed, err := os.ReadFile(r.Dir.TokenKey())
	done := err == nil && bytes.Equal(placed, r.next.File) && alone
	return endless(keys[at]) && !overtaken && !done, nil
}

// others returns the announced keys besides the new one for which match holds.
func (r *Rotation) others(ctx context.Context, match func(access.Key) bool) (found []access.Key, err error) {
	keys, err := r.Outbox.Accounts().Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ID() != r.next.ID() && match(k) {
			found = append(found, k)
		}
	}
	return found, nil
}

func endless(k access.Key) bool { return k.Until.IsZero() }

func (r *Rotation) announce(ctx context.Context) error {
	return r.Outbox.Accounts().AddKey(ctx, r.By, r.next.Key(r.Clock()))
}

func (r *Rotation) awaitApplied(ctx context.Context) error {
	if !r.server {
		return nil
	}
	applied, err := datadir.AppliedInTime(ctx, r.Dir, r.Outbox)
	if err == nil && !applied {
		err = fmt.Errorf("the running server has not applied the new key within %s, so the one before is still in use; "+
			"see signoff status, then go on with signoff keys rotate", datadir.AppliedTimeout)
	}
	return err
}

func (r *Rotation) place(context.Context) error {
	if err := datadir.WriteFile(r.Dir.TokenKey(), r.next.File); err != nil {
		return fmt.Errorf("put the new token key in place: %w", err)
	}
	return nil
}

// retire ends the keys before, or waits until the server has done so and
// applied it.
func (r *Rotation) retire(ctx context.Context) error {
	if !r.server {
		_, err := r.Outbox.Accounts().RetireKeys(ctx, r.By, r.next.ID(), r.Clock())
		return err
	}
	patience, cancel := context.WithTimeout(ctx, TakeOverTimeout)
	defer cancel()
	for {
		inForce, err := r.others(patience, endless)
		if err == nil && len(inForce) == 0 {
			break
		}
		if err == nil {
			err = poll.Pause(patience)
		}
		if patience.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("the new key is in place, but the running server does not sign with it after %s: see its log; "+
				"nothing is lost, the key before stays in force until then", TakeOverTimeout)
		}
		if err != nil {
			return err
		}
	}
	_, err := datadir.AppliedInTime(ctx, r.Dir, r.Outbox)
	return err
}
