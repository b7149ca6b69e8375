package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// self is how the audit trail calls the program where nobody told it to act.
const self = "signoff"

// AnnounceKey puts a public key of tokens on the log. A key that is there
// keeps its first From; announcing it again with the same Until changes
// nothing. It is a Conflict if the key was retired before.
func (o *Outbox) AnnounceKey(ctx context.Context, key access.Key) error {
	return o.AddKey(ctx, self, key)
}

// AddKey is AnnounceKey by someone whom the audit trail is to name.
func (o *Outbox) AddKey(ctx context.Context, by string, key access.Key) error {
	if key.ID() == "" || !key.JWK.IsPublic() || !key.JWK.Valid() {
		return events.Fieldf("jwk", "must be a public key with a key id")
	}
	return o.administer(ctx, by, "announce key", func(w *work) error {
		known, err := w.key(key.ID())
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
		return w.announceKey(key, entry{actor: by, action: actionKeyAnnounced})
	})
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
// is named by its id, and gives them. Tokens that they signed until then stay
// valid until they expire. Keys that end before stay as they are.
func (o *Outbox) RetireKeys(ctx context.Context, by, current string, until time.Time) ([]access.Key, error) {
	var retired []access.Key
	err := o.administer(ctx, by, "retire keys", func(w *work) error {
		retired = nil
		older, err := w.keysBefore(current)
		if err != nil {
			return err
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
			if err := w.announceKey(key, entry{actor: by, action: actionKeyRetired, detail: detail}); err != nil {
				return err
			}
			retired = append(retired, key)
		}
		return nil
	})
	return retired, err
}

// Keys gives all keys that were announced, by key id.
func (o *Outbox) Keys(ctx context.Context) ([]access.Key, error) {
	return listStates[access.Key](ctx, o, `select state from keys order by id`)
}

// key gives a key that was announced; nil where there is none.
func (w *work) key(id string) (*access.Key, error) {
	var state []byte
	err := w.tx.QueryRow(`select state from keys where id = ?`, id).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up key: %w", err)
	}
	var k access.Key
	return &k, json.Unmarshal(state, &k)
}

// keysBefore gives the keys that were announced before another, in the order
// of the log: clocks may have gone back in between.
func (w *work) keysBefore(id string) ([]access.Key, error) {
	var states [][]byte
	err := w.tx.Select(&states, `
		with announced as (
			select e.subject, min(e.sequence) as first
			from studies s
			join events e on e.study = s.row
			where s.study = ?1 and e.kind = ?2
			group by e.subject
		)
		select k.state
		from announced a
		join keys k on 'Key/' || k.id = a.subject
		where a.first < (select first from announced where subject = 'Key/' || ?3)
		order by a.first`, events.AccessStudy, string(events.AccessKey), id)
	if err != nil {
		return nil, fmt.Errorf("look up older keys: %w", err)
	}
	keys := make([]access.Key, len(states))
	for i, state := range states {
		if err := json.Unmarshal(state, &keys[i]); err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
	}
	return keys, nil
}

// announceKey stores a key's new state, with its event and audit line.
func (w *work) announceKey(key access.Key, e entry) error {
	state, err := w.announce(events.AccessKey, key.EventSubject(), key)
	if err != nil {
		return err
	}
	_, err = w.tx.Exec(`
		insert into keys (id, state)
		values (?, ?)
		on conflict do update
		set state = excluded.state`, key.ID(), string(state))
	if err != nil {
		return fmt.Errorf("store key: %w", err)
	}
	e.subject = key.ID()
	return w.audit(e)
}
