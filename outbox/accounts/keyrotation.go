package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// KeyRotation is a request to sign access tokens with a new key. First the new key is
// announced, then the older keys are retired, which finishes the rotation.
type KeyRotation struct {
	ID       int64
	By       string // the operator who requested it
	Key      string // id of the new key; "" until it is announced
	Finished bool
}

const keyRotations = `
		select row, requester, key, finished is not null
		from key_rotations`

// RequestKeyRotation records that access tokens are to be signed with a new key,
// and returns the request. If there is a request that is not finished, it returns that
// one and records nothing.
func (acc *Accounts) RequestKeyRotation(ctx context.Context, by string) (r KeyRotation, err error) {
	err = acc.ledger.Administer(ctx, by, "request a key rotation", func(tx *ledger.Tx) (err error) {
		r, err = requestKeyRotation(tx, by)
		return err
	})
	return r, err
}

// requestKeyRotation is RequestKeyRotation in a transaction.
func requestKeyRotation(tx *ledger.Tx, by string) (KeyRotation, error) {
	r, pending, err := scanKeyRotation(tx.QueryRow(keyRotations + ` where finished is null`))
	if err != nil || pending {
		return r, err
	}
	line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionKeyRotation})
	if err != nil {
		return r, err
	}
	r = KeyRotation{By: by}
	err = tx.QueryRow(`
		insert into key_rotations (requester, requested, line)
		values (?, ?, ?)
		returning row`, by, events.FormatTime(tx.Now), line).Scan(&r.ID)
	return r, err
}

// PendingKeyRotation returns the request that is not finished; ok is false where there
// is none.
func (acc *Accounts) PendingKeyRotation(ctx context.Context) (r KeyRotation, ok bool, err error) {
	r, ok, err = scanKeyRotation(acc.ledger.DB.Reader.QueryRowContext(ctx, keyRotations+` where finished is null`))
	if err != nil {
		err = fmt.Errorf("look up the pending key rotation: %w", err)
	}
	return r, ok, err
}

// GetKeyRotation returns a request as it is now.
func (acc *Accounts) GetKeyRotation(ctx context.Context, id int64) (KeyRotation, error) {
	r, ok, err := scanKeyRotation(acc.ledger.DB.Reader.QueryRowContext(ctx, keyRotations+` where row = ?`, id))
	if err == nil && !ok {
		err = events.Errorf(events.NotFound, "there is no key rotation %d", id)
	}
	return r, err
}

// scanKeyRotation scans a row of keyRotations; ok is false where there is no row.
func scanKeyRotation(row interface{ Scan(...any) error }) (r KeyRotation, ok bool, err error) {
	err = row.Scan(&r.ID, &r.By, &r.Key, &r.Finished)
	if errors.Is(err, sql.ErrNoRows) {
		return KeyRotation{}, false, nil
	}
	return r, err == nil, err
}

// AnnounceNextKey announces the public half of the new key, as AddKey does, and stores
// its id in the request. It can be called again with another key: if the program was
// killed after the first call, the private half of that key may be lost. The error is a
// Conflict if the request is finished.
func (acc *Accounts) AnnounceNextKey(ctx context.Context, r KeyRotation, key access.Key) error {
	return acc.ledger.Administer(ctx, r.By, "announce key", func(tx *ledger.Tx) error {
		if err := addKey(tx, r.By, key); err != nil {
			return err
		}
		return updateKeyRotation(tx, `
			update key_rotations
			set key = ?, line = (select line from keys where id = ?)
			where row = ? and finished is null`, key.ID(), key.ID(), r.ID)
	})
}

// FinishKeyRotation finishes the rotation. In the same transaction it retires, at until,
// all keys that were announced before the new one, as RetireKeys does. The error is a
// Conflict if the request is finished or has another new key than r.
func (acc *Accounts) FinishKeyRotation(ctx context.Context, r KeyRotation, until time.Time) (retired []access.Key, err error) {
	// The request names the line of the last key that was retired for the new one. It keeps
	// its line if none was: all older keys may have been retired or revoked before.
	err = acc.ledger.Administer(ctx, r.By, "finish a key rotation", func(tx *ledger.Tx) error {
		if retired, err = retireKeys(tx, r.By, r.Key, until); err != nil {
			return err
		}
		return updateKeyRotation(tx, `
			update key_rotations
			set finished = ?, line = max(line, (
				select coalesce(max(k.line), 0)
				from keys k
				join audit a on a.row = k.line
				where a.action = ? and json_extract(a.detail, '$.current') = key_rotations.key
			))
			where row = ? and key = ? and finished is null`, events.FormatTime(tx.Now), actionKeyRetired, r.ID, r.Key)
	})
	return retired, err
}

// updateKeyRotation runs a statement that changes one request. The error is a Conflict if
// no request meets the statement's conditions.
func updateKeyRotation(tx *ledger.Tx, statement string, args ...any) error {
	result, err := tx.Exec(statement, args...)
	if err == nil && !ledger.ChangedOne(result) {
		err = events.Errorf(events.Conflict, "the key rotation is finished, or another program carries it out")
	}
	return err
}
