package accounts

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

const wrongSourceSecret = "The source id or its secret is wrong."

// Source is a system that hands in assessments of the studies granted to it.
type Source struct {
	ID      string   `json:"id"`
	Studies []string `json:"studies"`
	Removed bool     `json:"removed"`
}

// AddSource adds a source and returns its secret, of which only a digest is stored. The
// error is a Conflict if the id was ever used, even by a source that was removed.
func (acc *Accounts) AddSource(ctx context.Context, by, id string, studies []string) (secret string, err error) {
	if !events.ValidPartnerID(id) {
		return "", events.Fieldf("id", "%q is not 1 to 64 of A-Z, a-z, 0-9, _ and -", id)
	}
	if studies, err = validStudies(studies); err != nil {
		return "", err
	}
	secret = newSecret()
	err = acc.ledger.Administer(ctx, by, "add source", func(tx *ledger.Tx) error {
		var used bool
		if err := tx.QueryRow(`select exists (select 1 from sources where id = ?)`, id).Scan(&used); err != nil {
			return err
		}
		if used {
			return events.Errorf(events.Conflict, "the source id %s was used before; choose another one", id)
		}
		detail := struct {
			Studies []string `json:"studies"`
		}{studies}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionSourceAdded, Subject: id, Detail: detail})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`insert into sources (id, secret, line) values (?, ?, ?)`, id, access.DigestSecret(secret), line); err != nil {
			return err
		}
		for _, study := range studies {
			if _, err := tx.Exec(`insert into source_grants (source, study, line) values (?, ?, ?)`, id, study, line); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// GrantSource lets a source hand in assessments of a study. Granting again changes nothing.
func (acc *Accounts) GrantSource(ctx context.Context, by, id, study string) error {
	study, err := validStudy(study)
	if err != nil {
		return err
	}
	return acc.changeSource(ctx, by, id, func(tx *ledger.Tx) error {
		granted, err := SourceGranted(tx, id, study)
		if err != nil || granted {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionSourceGranted, Study: study, Subject: id})
		if err != nil {
			return err
		}
		result, err := tx.Exec(`update source_grants set revoked = '', line = ? where source = ? and study = ?`, line, id, study)
		if err != nil || ledger.ChangedOne(result) {
			return err
		}
		_, err = tx.Exec(`insert into source_grants (source, study, line) values (?, ?, ?)`, id, study, line)
		return err
	})
}

// RevokeSource revokes a source's grant for a study. What it has handed in stays. The
// error is NotFound if there is no such grant.
func (acc *Accounts) RevokeSource(ctx context.Context, by, id, study string) error {
	study = ledger.NormalizeStudy(study)
	return acc.changeSource(ctx, by, id, func(tx *ledger.Tx) error {
		granted, err := SourceGranted(tx, id, study)
		if err != nil {
			return err
		}
		if !granted {
			return events.Errorf(events.NotFound, "source %s has no grant for study %s", id, study)
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionSourceRevoked, Study: study, Subject: id})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update source_grants set revoked = ?, line = ? where source = ? and study = ?`, events.FormatTime(tx.Now), line, id, study)
		return err
	})
}

// RotateSource makes a new secret for a source and returns it. The former one is invalid
// at once.
func (acc *Accounts) RotateSource(ctx context.Context, by, id string) (secret string, err error) {
	secret = newSecret()
	err = acc.changeSource(ctx, by, id, func(tx *ledger.Tx) error {
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionSourceRotated, Subject: id})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update sources set secret = ?, line = ? where id = ?`, access.DigestSecret(secret), line, id)
		return err
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// RemoveSource ends a source's access for ever. What it has handed in stays.
func (acc *Accounts) RemoveSource(ctx context.Context, by, id string) error {
	return acc.changeSource(ctx, by, id, func(tx *ledger.Tx) error {
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionSourceRemoved, Subject: id})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update sources set removed = ?, line = ? where id = ?`, events.FormatTime(tx.Now), line, id)
		return err
	})
}

// changeSource runs fn in a transaction. The error is NotFound if there is no such source,
// and a Conflict if it was removed.
func (acc *Accounts) changeSource(ctx context.Context, by, id string, fn func(*ledger.Tx) error) error {
	return acc.ledger.Administer(ctx, by, "change source", func(tx *ledger.Tx) error {
		var removed string
		err := tx.QueryRow(`select removed from sources where id = ?`, id).Scan(&removed)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return events.Errorf(events.NotFound, "there is no source %q", id)
		case err != nil:
			return fmt.Errorf("look up source: %w", err)
		case removed != "":
			return events.Errorf(events.Conflict, "source %s was removed", id)
		}
		return fn(tx)
	})
}

// SourceGranted reports whether a source may hand in assessments of the study now.
func SourceGranted(tx *ledger.Tx, id, study string) (granted bool, err error) {
	err = tx.QueryRow(`
		select exists (
			select 1
			from source_grants g
			join sources s on s.id = g.source
			where g.source = ? and g.study = ? and g.revoked = '' and s.removed = ''
		)`, id, study).Scan(&granted)
	if err != nil {
		return false, fmt.Errorf("look up the grant of a source: %w", err)
	}
	return granted, nil
}

// Sources returns all sources, removed ones too, by id.
func (acc *Accounts) Sources(ctx context.Context) ([]Source, error) {
	sources, err := database.List(ctx, acc.ledger.DB.Reader, func(row database.Row) (s Source, err error) {
		return s, row.Scan(&s.ID, &s.Removed)
	}, `select id, removed <> '' from sources order by id`)
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	for i := range sources {
		if sources[i].Studies, err = acc.studiesOfSource(ctx, sources[i].ID); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

func (acc *Accounts) studiesOfSource(ctx context.Context, id string) ([]string, error) {
	studies, err := database.List(ctx, acc.ledger.DB.Reader, database.Value[string], `select study from source_grants where source = ? and revoked = '' order by study`, id)
	if err != nil {
		return nil, fmt.Errorf("list grants of a source: %w", err)
	}
	return studies, nil
}

// AuthenticateSource returns the source with this id and secret. The right secret is
// accepted even after many failures. The errors are those of AuthenticateClient.
func (acc *Accounts) AuthenticateSource(ctx context.Context, id, secret, address string) (Source, error) {
	ctx = ledger.WithAddress(ctx, address)
	a := attempt{kind: kindSource, protocol: overHTTP, name: id, address: access.Place(address), from: address}
	if !events.ValidPartnerID(id) {
		a.name = "" // nobody has a malformed id, and it is not to be stored
	}
	var digest string
	var removed bool
	err := acc.ledger.DB.Reader.QueryRowContext(ctx, `select secret, removed <> '' from sources where id = ?`, a.name).Scan(&digest, &removed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Source{}, fmt.Errorf("look up source: %w", err)
	}
	a.known = err == nil
	same := subtle.ConstantTimeCompare([]byte(access.DigestSecret(secret)), []byte(digest)) == 1
	reason := "wrong secret"
	switch {
	case a.known && !removed && same:
		studies, err := acc.studiesOfSource(ctx, id)
		return Source{ID: id, Studies: studies}, err
	case !a.known:
		reason = "unknown source"
	case removed:
		reason = "removed"
	}
	return Source{}, acc.failClient(ctx, a, reason)
}
