package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// self is the program's name in the audit trail, where it acts by itself.
const self = "signoff"

// AnnounceKey publishes a public key of access tokens as an event. A key that was
// announced before keeps its first From; announcing it again with the same Until
// changes nothing. The error is a Conflict if the key was retired before and key.Until is
// later or zero.
func (acc *Accounts) AnnounceKey(ctx context.Context, key access.Key) error {
	return acc.AddKey(ctx, self, key)
}

// AddKey is AnnounceKey with by as the actor in the audit trail.
func (acc *Accounts) AddKey(ctx context.Context, by string, key access.Key) error {
	return acc.ledger.Administer(ctx, by, "announce key", func(tx *ledger.Tx) error { return addKey(tx, by, key) })
}

// addKey announces the key unless it was announced with the same Until. A key that was
// announced keeps its From. Its Until can be set, or replaced by an earlier one, but
// never by a later one.
func addKey(tx *ledger.Tx, by string, key access.Key) error {
	if key.ID() == "" || !key.JWK.IsPublic() || !key.JWK.Valid() {
		return events.Fieldf("jwk", "must be a public key with a key id")
	}
	announced, err := getKey(tx, key.ID())
	if err != nil {
		return err
	}
	if announced != nil {
		if announced.Until.Equal(key.Until) {
			return nil
		}
		if err := refuseLongerValidity(*announced, key.Until); err != nil {
			return err
		}
		key.From = announced.From
	}
	return announceKey(tx, key, ledger.Line{Actor: by, Action: actionKeyAnnounced})
}

// refuseLongerValidity returns a Conflict if until would keep a retired key valid for
// longer; a zero until is no end. The key may have been retired because its private half
// is known to others.
func refuseLongerValidity(key access.Key, until time.Time) error {
	if key.Until.IsZero() || !until.IsZero() && until.Before(key.Until) {
		return nil
	}
	return events.Errorf(events.Conflict, "the key %s was retired at %s and cannot be used again; make a new one",
		key.ID(), events.FormatTime(key.Until))
}

// RetireKeys retires, at until, all keys that were announced before the current
// one, which is named by its id, and returns them. Access tokens that they signed
// before until stay valid until they expire. A key that was retired earlier stays
// as it is; one that was retired later, by a clock that was ahead, is retired at
// until.
func (acc *Accounts) RetireKeys(ctx context.Context, by, current string, until time.Time) ([]access.Key, error) {
	var retired []access.Key
	err := acc.ledger.Administer(ctx, by, "retire keys", func(tx *ledger.Tx) (err error) {
		retired, err = retireKeys(tx, by, current, until)
		return err
	})
	return retired, err
}

// retireKeys is RetireKeys in a transaction.
func retireKeys(tx *ledger.Tx, by, current string, until time.Time) (retired []access.Key, err error) {
	older, err := keysBefore(tx, current)
	if err != nil {
		return nil, err
	}
	for _, key := range older {
		if key.Revoked() || !key.Until.IsZero() && !key.Until.After(until) {
			continue // retired at until or earlier
		}
		key.Until = until.UTC().Truncate(time.Microsecond)
		detail := struct {
			Until   string `json:"until"`
			Current string `json:"current"`
		}{events.FormatTime(key.Until), current}
		if err := announceKey(tx, key, ledger.Line{Actor: by, Action: actionKeyRetired, Detail: detail}); err != nil {
			return nil, err
		}
		retired = append(retired, key)
	}
	return retired, nil
}

// RevokeKey ends a key at once: from then on, no access token that it has signed is
// accepted. Revoking again changes nothing. If replace is true, because access tokens are
// signed with this key, it also requests a rotation, as RequestKeyRotation does, and returns
// the request. The error is NotFound if there is no such key.
func (acc *Accounts) RevokeKey(ctx context.Context, by, id string, replace bool) (r KeyRotation, err error) {
	err = acc.ledger.Administer(ctx, by, "revoke a key", func(tx *ledger.Tx) error {
		key, err := getKey(tx, id)
		if err != nil {
			return err
		}
		if key == nil {
			return events.Errorf(events.NotFound, "there is no key %q; signoff keys list prints them", id)
		}
		if !key.Revoked() {
			key.Until = key.From
			err = announceKey(tx, *key, ledger.Line{Actor: by, Action: actionKeyRevoked})
		}
		if err == nil && replace {
			r, err = requestKeyRotation(tx, by)
		}
		return err
	})
	return r, err
}

// announcedKeys begins a query with the subject of each key's events and the
// study number of the first, by which keys are ordered.
const announcedKeys = `
		with announced as (
			select e.subject, min(e.sequence) as first
			from studies s
			join events e on e.study = s.row
			where s.study = ? and e.kind = ?
			group by e.subject
		)`

// Keys returns all keys in the order of their first events. Their times may be in
// another order, because a clock may have gone back.
func (acc *Accounts) Keys(ctx context.Context) ([]access.Key, error) {
	return database.List(ctx, acc.ledger.DB.Reader, ledger.State[access.Key], announcedKeys+`
		select k.state
		from announced a
		join keys k on 'Key/' || k.id = a.subject
		order by a.first`, events.AccessStudy, string(events.AccessKey))
}

// getKey returns a key that was announced, nil where there is none.
func getKey(tx *ledger.Tx, id string) (*access.Key, error) {
	key, err := ledger.State[access.Key](tx.QueryRow(`select state from keys where id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up key: %w", err)
	}
	return &key, nil
}

// keysBefore returns the keys that were announced before another, in the order of
// their first events.
func keysBefore(tx *ledger.Tx, id string) ([]access.Key, error) {
	keys, err := database.List(context.Background(), tx, ledger.State[access.Key], announcedKeys+`
		select k.state
		from announced a
		join keys k on 'Key/' || k.id = a.subject
		where a.first < (select first from announced where subject = 'Key/' || ?)
		order by a.first`, events.AccessStudy, string(events.AccessKey), id)
	if err != nil {
		return nil, fmt.Errorf("look up older keys: %w", err)
	}
	return keys, nil
}

// announceKey appends the event with a key's new state, adds the audit line, and stores
// the state. It sets the line's Subject.
func announceKey(tx *ledger.Tx, key access.Key, e ledger.Line) error {
	state, err := announce(tx, events.AccessKey, key.EventSubject(), key)
	if err != nil {
		return err
	}
	e.Subject = key.ID()
	line, err := tx.AddLine(e)
	if err != nil {
		return err
	}
	if err := storeState(tx, "keys", key.ID(), state, line); err != nil {
		return fmt.Errorf("store key: %w", err)
	}
	return nil
}
