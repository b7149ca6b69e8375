package tokenkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// The steps of a rotation, in their order. If the program ends after any of them, access
// tokens are still issued and accepted, and the next server or command that reads the
// request continues the rotation.
const (
	StepRequested = "requested" // the request is in the outbox
	StepAnnounced = "announced" // the new public key is on the log
	StepApplied   = "applied"   // the server accepts access tokens of both keys
	StepPlaced    = "placed"    // the private key is in the key file; access tokens are signed with it
	StepFinished  = "finished"  // the older keys are retired; access tokens they signed stay valid until they expire
)

// rotator carries out one rotation. The running server has one while a rotation is
// requested and not finished. If no server runs, the command has one, and holds the
// directory's lock. So there is at most one on a data directory.
type rotator struct {
	dir     datadir.Dir
	outbox  *outbox.Outbox
	step    func(name string)
	applied func(id string) bool // reports whether access tokens of the key are accepted
	placed  func(*Key)           // called once the key is in the key file

	current *Key // in the key file; nil if that cannot be used
	next    *Key // announced, not placed yet; only in memory
}

// advance carries out the rotation as far as it can go now, and reports whether it is
// finished. The older keys end at until.
//
// The new private key is only in memory until it is put into the key file. If the program
// ends between the announcement and that, the key is lost, and the next attempt announces
// another one. The lost one is then among the older keys, and is retired with them.
func (r *rotator) advance(ctx context.Context, request accounts.KeyRotation, now, until time.Time) (done bool, retired []access.Key, err error) {
	if r.current == nil || r.current.ID() != request.Key { // else the new key is in place already
		if err := r.announce(ctx, &request, now); err != nil || !r.applied(r.next.ID()) {
			return false, nil, err
		}
		r.step(StepApplied)
		if err := r.place(); err != nil {
			return false, nil, err
		}
	}
	if retired, err = r.outbox.Accounts().FinishKeyRotation(ctx, request, until); err != nil {
		return false, nil, fmt.Errorf("retire the previous keys for access tokens: %w", err)
	}
	r.step(StepFinished)
	return true, retired, nil
}

// announce makes the new key, announces its public key, and sets the request's Key to its
// id. It does nothing if the rotator has done so before.
func (r *rotator) announce(ctx context.Context, request *accounts.KeyRotation, now time.Time) error {
	if r.next != nil {
		return nil
	}
	file, err := access.NewKey()
	if err != nil {
		return err
	}
	next, err := Read(file)
	if err != nil {
		return err
	}
	if err := r.outbox.Accounts().AnnounceNextKey(ctx, *request, next.Key(now)); err != nil {
		return fmt.Errorf("announce the new key for access tokens: %w", err)
	}
	r.next, request.Key = next, next.ID()
	r.step(StepAnnounced)
	return nil
}

// place puts the new key into the key file, and has access tokens signed with it.
func (r *rotator) place() error {
	err := os.MkdirAll(filepath.Dir(r.dir.TokenKey()), 0o700)
	if err == nil {
		err = datadir.WriteFile(r.dir.TokenKey(), r.next.File)
	}
	if err != nil {
		return fmt.Errorf("put the new key for access tokens in place: %w", err)
	}
	r.current, r.next = r.next, nil
	r.placed(r.current)
	r.step(StepPlaced)
	return nil
}

// RotationTimeout is how long the command waits until the running server has carried
// out a rotation.
var RotationTimeout = 5 * time.Second

// Rotate replaces the key that signs access tokens by a new one. It records the request in
// the outbox and waits until the running server has carried it out. If none runs, it locks
// the data directory and carries it out itself. It returns the id of the new key, and the
// older keys whose access tokens may still be valid. Step is called after each step that
// this process takes, for tests.
func Rotate(ctx context.Context, dir datadir.Dir, o *outbox.Outbox, by string, step func(name string)) (current string, older []access.Key, err error) {
	current, err = rotate(ctx, dir, o, func() (accounts.KeyRotation, error) { return o.Accounts().RequestKeyRotation(ctx, by) },
		"the previous key stays in force until then", step)
	if err != nil {
		return "", nil, err
	}
	keys, err := o.Accounts().Keys(ctx)
	for _, k := range keys {
		if k.ID() != current && !k.Revoked() && time.Now().Before(k.Until.Add(access.Lifetime)) {
			older = append(older, k)
		}
	}
	return current, older, err
}

// Revoke ends a key at once. If access tokens are signed with it, Revoke also replaces it,
// as Rotate does, and returns the id of the new key; else it returns the empty string.
func Revoke(ctx context.Context, dir datadir.Dir, o *outbox.Outbox, by, id string) (current string, err error) {
	if mightSign(dir, id) {
		return rotate(ctx, dir, o, func() (accounts.KeyRotation, error) { return o.Accounts().RevokeKey(ctx, by, id, true) },
			"the key is revoked, and no access tokens are issued until then", func(string) {})
	}
	_, err = o.Accounts().RevokeKey(ctx, by, id, false)
	return "", err
}

// mightSign reports whether access tokens are signed with the key, as far as the key file
// shows. If that is damaged, or missing although a server runs, the server may still sign
// with any key that it has in memory.
func mightSign(dir datadir.Dir, id string) bool {
	file, err := os.ReadFile(dir.TokenKey())
	if errors.Is(err, fs.ErrNotExist) {
		return dir.Served()
	}
	if err != nil {
		return true
	}
	key, err := Read(file)
	return err != nil || key.ID() == id
}

// rotate makes a request for a rotation, and waits until the running server has carried it
// out. If none runs, it carries it out itself. It returns the id of the new key. Meanwhile is
// what holds until then, for the error.
func rotate(
	ctx context.Context, dir datadir.Dir, o *outbox.Outbox, request func() (accounts.KeyRotation, error), meanwhile string, step func(name string),
) (current string, err error) {
	unlock, err := dir.Lock("keys rotate")
	if err != nil {
		if !dir.Served() {
			return "", err // the holder of the lock does not carry out rotations
		}
	} else {
		defer unlock()
	}
	requested, err := request()
	if err != nil {
		return "", err
	}
	step(StepRequested)
	if unlock != nil {
		return rotateHere(ctx, dir, o, requested, step)
	}
	return awaitRotation(ctx, dir, o, requested, meanwhile)
}

// rotateHere carries out the rotation while no server runs. It does not wait until the new
// key is applied, and retires the older ones at once: no server issues access tokens
// meanwhile.
func rotateHere(ctx context.Context, dir datadir.Dir, o *outbox.Outbox, request accounts.KeyRotation, step func(name string)) (string, error) {
	r := &rotator{
		dir: dir, outbox: o, step: step,
		applied: func(string) bool { return true },
		placed:  func(*Key) {},
	}
	if file, err := os.ReadFile(dir.TokenKey()); err == nil {
		if key, err := Read(file); err == nil { // a damaged file is replaced too
			r.current = key
		}
	}
	now := time.Now()
	if _, _, err := r.advance(ctx, request, now, now); err != nil {
		return "", err
	}
	return r.current.ID(), nil
}

// ErrNotReplaced is returned if the request for a rotation is recorded, and the running
// server has not carried it out in time. A key that was to be revoked is revoked then.
var ErrNotReplaced = errors.New("the rotation is requested, but the running server has not carried it out")

// awaitRotation waits until the running server has carried out the rotation and its
// read model has applied that.
func awaitRotation(ctx context.Context, dir datadir.Dir, o *outbox.Outbox, request accounts.KeyRotation, meanwhile string) (string, error) {
	waiting, cancel := context.WithTimeout(ctx, RotationTimeout)
	defer cancel()
	err := retry.Poll(waiting, func() (_ bool, err error) {
		request, err = o.Accounts().GetKeyRotation(waiting, request.ID)
		return request.Finished, err
	})
	if err != nil && waiting.Err() != nil && ctx.Err() == nil { // RotationTimeout has passed
		return "", fmt.Errorf("%w within %s; it does so as soon as it can, and %s; see signoff keys list, signoff status and the server's log",
			ErrNotReplaced, RotationTimeout, meanwhile)
	}
	if err != nil {
		return "", err
	}
	_, err = datadir.AwaitAccess(ctx, dir, o, func(p datadir.Progress) bool { return p.Applied }) // the key is in use, applied in time or not
	return request.Key, err
}
