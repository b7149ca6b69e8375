package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// AnnounceKey puts a public key of tokens on the log. A key that is there
// keeps its first From; announcing it again with the same Until changes
// nothing.
func (o *Outbox) AnnounceKey(ctx context.Context, key access.Key) error {
	if key.ID() == "" || !key.JWK.IsPublic() || !key.JWK.Valid() {
		return events.Fieldf("jwk", "must be a public key with a key id")
	}
	return o.update(ctx, "announce key", func(w *work) error {
		known, err := w.key(key.ID())
		if err != nil {
			return err
		}
		if known != nil {
			if known.Until.Equal(key.Until) {
				return nil
			}
			key.From = known.From
		}
		return w.announceKey(key)
	})
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

func (w *work) announceKey(key access.Key) error {
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
	return w.audit(entry{actor: "signoff", action: actionKeyAnnounced, subject: key.ID()})
}
