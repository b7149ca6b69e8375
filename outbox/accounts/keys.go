package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// self is how the audit trail calls the program where nobody told it to act.
const self = "signoff"

// AnnounceKey puts a public key of tokens on the log. A key that is there
// keeps its first From; announcing it again with the same Until changes
// nothing. It is a Conflict if the key was retired before.
func (acc *Accounts) AnnounceKey(ctx context.Context, key access.Key) error {
	return acc.AddKey(ctx, self, key)
}

// AddKey is AnnounceKey by someone whom the audit trail is to name.
func (acc *Accounts) AddKey(ctx context.Context, by string, key access.Key) error {
	return acc.ledger.Administer(ctx, by, "announce key", func(tx *ledger.Tx) error { return addKey(tx, by, key) })
}

func addKey(tx *ledger.Tx, by string, key access.Key) error {
	if key.ID() == "" || !key.JWK.IsPublic() || !key.JWK.Valid() {
		return events.Fieldf("jwk", "must be a public key with a key id")
	}
	known, err := getKey(tx, key.ID())
	if err != nil {
		return err
	}
	if known != nil {
		if known.Until.Equal(key.Until) {
			return nil
		}
		if err := stays(*known, key.Until); err != nil {
			return err
		}
		key.From = known.From
	}
	return announceKey(tx, key, ledger.Line{Actor: by, Action: actionKeyAnnounced})
}

// stays refuses to let a key that was retired come back, even for a moment: it
// may have been retired because others know it.
func stays(known access.Key, until time.Time) error {
	if known.Until.IsZero() || !until.IsZero() && until.Before(known.Until) {
		return nil
	}
	return events.Errorf(events.Conflict, "the token key %s was retired at %s and does not come back: make a new one",
		known.ID(), events.FormatTime(known.Until))
}

// RetireKeys ends all keys that were announced before the current one, which
// is named by its id, and returns them. Tokens that they signed until then stay
// valid until they expire. Keys that end before stay as they are; one that ends
// later, because it was retired by a clock that was ahead, ends at until.
func (acc *Accounts) RetireKeys(ctx context.Context, by, current string, until time.Time) ([]access.Key, error) {
	var retired []access.Key
	err := acc.ledger.Administer(ctx, by, "retire keys", func(tx *ledger.Tx) (err error) {
		retired, err = retireKeys(tx, by, current, until)
		return err
	})
	return retired, err
}

func retireKeys(tx *ledger.Tx, by, current string, until time.Time) (retired []access.Key, err error) {
	older, err := keysBefore(tx, current)
	if err != nil {
		return nil, err
	}
	for _, key := range older {
		if !key.Until.IsZero() && !key.Until.After(until) {
			continue
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

// announcedKeys is the start of a query: the subject of each key's events and
// the number of the first, which is its place in the log.
const announcedKeys = `
		with announced as (
			select e.subject, min(e.sequence) as first
			from studies s
			join events e on e.study = s.row
			where s.study = ? and e.kind = ?
			group by e.subject
		)`

// Keys returns all keys in the order in which they were announced. It is that
// of the log: clocks may have gone back in between.
func (acc *Accounts) Keys(ctx context.Context) ([]access.Key, error) {
	return ledger.States[access.Key](ctx, acc.ledger.DB.Reader, announcedKeys+`
		select k.state
		from announced a
		join keys k on 'Key/' || k.id = a.subject
		order by a.first`, events.AccessStudy, string(events.AccessKey))
}

// getKey returns a key that was announced, nil where there is none.
func getKey(tx *ledger.Tx, id string) (*access.Key, error) {
	found, err := ledger.States[access.Key](context.Background(), tx, `select state from keys where id = ?`, id)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// keysBefore returns the keys that were announced before another, in the order
// of the log.
func keysBefore(tx *ledger.Tx, id string) ([]access.Key, error) {
	keys, err := ledger.States[access.Key](context.Background(), tx, announcedKeys+`
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

// announceKey stores a key's new state, with its event and audit line.
func announceKey(tx *ledger.Tx, key access.Key, e ledger.Line) error {
	state, err := announce(tx, events.AccessKey, key.EventSubject(), key)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`
		insert into keys (id, state)
		values (?, ?)
		on conflict (id) do update
		set state = excluded.state`, key.ID(), string(state))
	if err != nil {
		return fmt.Errorf("store key: %w", err)
	}
	e.Subject = key.ID()
	return tx.Audit(e)
}
