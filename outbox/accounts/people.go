package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// PI is a principal investigator, who may sign for the studies granted.
type PI struct {
	User     string   `json:"user"`
	Name     string   `json:"name"` // as printed beside a signature
	Studies  []string `json:"studies"`
	Disabled bool     `json:"disabled"`
}

// AddPI adds a PI. The error is a Conflict if the user name was ever used. By is
// the operator, here and below.
func (acc *Accounts) AddPI(ctx context.Context, by, user, name string, studies []string, password string) error {
	if !events.ValidUser(user) {
		return events.Fieldf("user", "%q is not 1 to 64 of A-Z, a-z, 0-9 and . _ @ -", user)
	}
	if err := events.ValidPrintedName(name); err != nil {
		return err
	}
	studies, err := validStudies(studies)
	if err != nil {
		return err
	}
	hash, err := acc.passwords.hash(password)
	if err != nil {
		return err
	}
	return acc.ledger.Administer(ctx, by, "add PI", func(tx *ledger.Tx) error {
		_, err := getPerson(tx, user)
		if err == nil {
			return events.Errorf(events.Conflict, "the user name %s was used before; choose another one", user)
		}
		if !errors.Is(err, events.NotFound) {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIAdded, Subject: user, Detail: PI{User: user, Name: name, Studies: studies}})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`insert into people ("user", name, password, line) values (?, ?, ?, ?)`, user, name, hash, line)
		if err != nil {
			return err
		}
		for _, study := range studies {
			if _, err := tx.Exec(`insert into grants ("user", study, line) values (?, ?, ?)`, user, study, line); err != nil {
				return err
			}
		}
		return nil
	})
}

// GrantPI lets a PI sign for a study. Granting again changes nothing.
func (acc *Accounts) GrantPI(ctx context.Context, by, user, study string) error {
	study, err := validStudy(study)
	if err != nil {
		return err
	}
	return acc.ledger.Administer(ctx, by, "grant study to PI", func(tx *ledger.Tx) error {
		if _, err := getPerson(tx, user); err != nil {
			return err
		}
		granted, err := hasGrant(tx, user, study)
		if err != nil || granted {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIGranted, Study: study, Subject: user})
		if err != nil {
			return err
		}
		result, err := tx.Exec(`update grants set revoked = '', line = ? where "user" = ? and study = ?`, line, user, study)
		if err != nil || ledger.ChangedOne(result) {
			return err
		}
		_, err = tx.Exec(`insert into grants ("user", study, line) values (?, ?, ?)`, user, study, line)
		return err
	})
}

// RevokePI revokes a PI's grant for a study. The error is NotFound if there is no
// such grant.
func (acc *Accounts) RevokePI(ctx context.Context, by, user, study string) error {
	study = ledger.NormalizeStudy(study)
	return acc.ledger.Administer(ctx, by, "revoke study of PI", func(tx *ledger.Tx) error {
		if _, err := getPerson(tx, user); err != nil {
			return err
		}
		granted, err := hasGrant(tx, user, study)
		if err != nil {
			return err
		}
		if !granted {
			return events.Errorf(events.NotFound, "%s has no grant for study %s", user, study)
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIRevoked, Study: study, Subject: user})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update grants set revoked = ?, line = ? where "user" = ? and study = ?`, events.FormatTime(tx.Now), line, user, study)
		return err
	})
}

// hasGrant reports whether the PI may sign for the study. A grant that was
// revoked has a row still.
func hasGrant(tx *ledger.Tx, user, study string) (granted bool, err error) {
	err = tx.QueryRow(`select exists (select 1 from grants where "user" = ? and study = ? and revoked = '')`, user, study).Scan(&granted)
	return granted, err
}

// SetPassword sets a PI's password and ends a lock after failed sign-ins.
func (acc *Accounts) SetPassword(ctx context.Context, by, user, password string) error {
	hash, err := acc.passwords.hash(password)
	if err != nil {
		return err
	}
	return acc.ledger.Administer(ctx, by, "set password", func(tx *ledger.Tx) error {
		if _, err := getPerson(tx, user); err != nil {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIPassword, Subject: user})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`update people set password = ?, line = ? where "user" = ?`, hash, line, user); err != nil {
			return err
		}
		_, err = tx.Exec(`delete from failures where kind = 'user' and name = ?`, user)
		return err
	})
}

// DisablePI disables a PI for ever, who can then not sign any more. Disabling again changes nothing.
func (acc *Accounts) DisablePI(ctx context.Context, by, user string) error {
	return acc.ledger.Administer(ctx, by, "disable PI", func(tx *ledger.Tx) error {
		p, err := getPerson(tx, user)
		if err != nil || p.disabled != "" {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIDisabled, Subject: user})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update people set disabled = ?, line = ? where "user" = ?`, events.FormatTime(tx.Now), line, user)
		return err
	})
}

// PIs returns all PIs, by user name.
func (acc *Accounts) PIs(ctx context.Context) ([]PI, error) {
	people, err := database.List(ctx, acc.ledger.DB.Reader, scanPerson, `select "user", name, password, disabled from people order by "user"`)
	if err != nil {
		return nil, fmt.Errorf("list PIs: %w", err)
	}
	out := make([]PI, len(people))
	for i, p := range people {
		if out[i], err = acc.describe(ctx, p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// describe returns the PI with the studies granted.
func (acc *Accounts) describe(ctx context.Context, p person) (PI, error) {
	studies, err := database.List(ctx, acc.ledger.DB.Reader, database.Value[string], `select study from grants where "user" = ? and revoked = '' order by study`, p.user)
	if err != nil {
		return PI{}, fmt.Errorf("list grants: %w", err)
	}
	return PI{User: p.user, Name: p.name, Studies: studies, Disabled: p.disabled != ""}, nil
}

// person is a PI as stored.
type person struct {
	user     string
	name     string
	password string // the hash
	disabled string // when; empty where the PI is not
}

func scanPerson(row database.Row) (p person, err error) {
	err = row.Scan(&p.user, &p.name, &p.password, &p.disabled)
	return p, err
}

func getPerson(tx *ledger.Tx, user string) (person, error) {
	p, err := scanPerson(tx.QueryRow(`select "user", name, password, disabled from people where "user" = ?`, user))
	if errors.Is(err, sql.ErrNoRows) {
		return p, unknownPI(user)
	}
	return p, err
}

func unknownPI(user string) error { return events.Errorf(events.NotFound, "there is no PI %q", user) }

func validStudy(study string) (string, error) {
	study = ledger.NormalizeStudy(study)
	return study, events.ValidStudy(study)
}

// validStudies returns the study numbers normalised, sorted, each once.
func validStudies(studies []string) ([]string, error) {
	out := make([]string, len(studies))
	for i, s := range studies {
		var err error
		if out[i], err = validStudy(s); err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
