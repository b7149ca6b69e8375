package outbox

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// Source is a system that hands over assessments.
type Source struct {
	ID      string `json:"id"`
	Removed bool   `json:"removed"`
}

// AddSource adds a source system and gives its secret, which is kept nowhere
// but as a digest. The id of a removed source is not given again: Conflict.
func (o *Outbox) AddSource(ctx context.Context, by, id string) (secret string, err error) {
	if !events.ValidPartnerID(id) {
		return "", events.Fieldf("id", "%q is not 1 to 64 of A-Z, a-z, 0-9, _ and -", id)
	}
	secret = newSecret()
	err = o.administer(ctx, by, "add source", func(w *work) error {
		result, err := w.tx.Exec(`
			insert into sources (id, secret)
			values (?, ?)
			on conflict do nothing`, id, access.DigestSecret(secret))
		if err != nil {
			return err
		}
		if one(result, "") != nil {
			return events.Errorf(events.Conflict, "the source id %s was given before; ids are never used again", id)
		}
		return w.audit(entry{actor: by, action: actionSourceAdded, subject: id})
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// RotateSource gives a source a new secret in place of the one before.
func (o *Outbox) RotateSource(ctx context.Context, by, id string) (secret string, err error) {
	secret = newSecret()
	err = o.changeSource(ctx, by, id, actionSourceRotated,
		`update sources set secret = ? where id = ? and removed = ''`, access.DigestSecret(secret))
	if err != nil {
		return "", err
	}
	return secret, nil
}

// RemoveSource ends a source's access, for ever.
func (o *Outbox) RemoveSource(ctx context.Context, by, id string) error {
	return o.changeSource(ctx, by, id, actionSourceRemoved,
		`update sources set removed = ? where id = ? and removed = ''`, events.FormatTime(o.now()))
}

func (o *Outbox) changeSource(ctx context.Context, by, id, action, statement, value string) error {
	return o.administer(ctx, by, "change source", func(w *work) error {
		result, err := w.tx.Exec(statement, value, id)
		if err != nil {
			return err
		}
		if one(result, "") != nil {
			return events.Errorf(events.NotFound, "there is no source %q, or it was removed", id)
		}
		return w.audit(entry{actor: by, action: action, subject: id})
	})
}

// Sources gives all sources, removed ones too, by id.
func (o *Outbox) Sources(ctx context.Context) ([]Source, error) {
	sources := []Source{}
	err := o.db.Reader.SelectContext(ctx, &sources, `select id, removed <> '' as removed from sources order by id`)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	return sources, nil
}

// AuthenticateSource gives the source whose id and secret these are. The
// errors are those of AuthenticateClient.
func (o *Outbox) AuthenticateSource(ctx context.Context, id, secret, address string) (Source, error) {
	a := attempt{kind: kindSource, name: id, address: access.Place(address)}
	if !events.ValidPartnerID(id) {
		a.name = ""
	}
	failures, err := o.failures(ctx, a)
	if err != nil {
		return Source{}, err
	}
	var digest, removed string
	err = o.db.Reader.QueryRowContext(ctx, `select secret, removed from sources where id = ?`, a.name).Scan(&digest, &removed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Source{}, fmt.Errorf("look up source: %w", err)
	}
	same := subtle.ConstantTimeCompare([]byte(access.DigestSecret(secret)), []byte(digest)) == 1
	if !same || removed != "" {
		return Source{}, o.fail(ctx, a, "unknown source or wrong secret", wrongSecret)
	}
	if failures > 0 {
		if err := o.forgetFailures(ctx, a); err != nil {
			return Source{}, err
		}
	}
	return Source{ID: id}, nil
}
