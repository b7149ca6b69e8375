package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/events"
)

// PI is a principal investigator: who may sign for the studies granted.
type PI struct {
	User     string   `json:"user"`
	Name     string   `json:"name"` // as printed beside a signature
	Studies  []string `json:"studies"`
	Disabled bool     `json:"disabled"`
}

// AddPI adds a PI. A user name is never used again, so one that ever was is a
// Conflict. By is the operator, here and below.
func (o *Outbox) AddPI(ctx context.Context, by, user, name string, studies []string, password string) error {
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
	hash, err := o.passwords.hash(password)
	if err != nil {
		return err
	}
	return o.administer(ctx, by, "add PI", func(w *work) error {
		result, err := w.tx.Exec(`
			insert into people (user, name, password)
			select ?1, ?2, ?3
			where not exists (select 1 from people where user = ?1)`, user, name, hash)
		if err != nil {
			return err
		}
		if one(result, "add PI") != nil {
			return events.Errorf(events.Conflict, "the user name %s was given before; user names are never used again", user)
		}
		for _, study := range studies {
			if _, err := w.tx.Exec(`insert into grants (user, study) values (?, ?)`, user, study); err != nil {
				return err
			}
		}
		return w.audit(entry{actor: by, action: actionPIAdded, subject: user, detail: PI{User: user, Name: name, Studies: studies}})
	})
}

// GrantPI lets a PI sign for a study. Granting again changes nothing.
func (o *Outbox) GrantPI(ctx context.Context, by, user, study string) error {
	study, err := validStudy(study)
	if err != nil {
		return err
	}
	return o.administer(ctx, by, "grant study to PI", func(w *work) error {
		if _, err := w.person(user); err != nil {
			return err
		}
		result, err := w.tx.Exec(`
			insert into grants (user, study)
			values (?, ?)
			on conflict do nothing`, user, study)
		if err != nil || one(result, "") != nil {
			return err
		}
		return w.audit(entry{actor: by, action: actionPIGranted, study: study, subject: user})
	})
}

// RevokePI takes a study from a PI. It is NotFound if the PI does not have it.
func (o *Outbox) RevokePI(ctx context.Context, by, user, study string) error {
	study = normalize(study)
	return o.administer(ctx, by, "revoke study of PI", func(w *work) error {
		if _, err := w.person(user); err != nil {
			return err
		}
		result, err := w.tx.Exec(`delete from grants where user = ? and study = ?`, user, study)
		if err != nil {
			return err
		}
		if one(result, "") != nil {
			return events.Errorf(events.NotFound, "%s has no grant for study %s", user, study)
		}
		return w.audit(entry{actor: by, action: actionPIRevoked, study: study, subject: user})
	})
}

// SetPassword gives a PI a new password and ends a lock after failed sign-ins.
func (o *Outbox) SetPassword(ctx context.Context, by, user, password string) error {
	hash, err := o.passwords.hash(password)
	if err != nil {
		return err
	}
	return o.administer(ctx, by, "set password", func(w *work) error {
		result, err := w.tx.Exec(`update people set password = ? where user = ?`, hash, user)
		if err != nil {
			return err
		}
		if one(result, "") != nil {
			return unknownPI(user)
		}
		if _, err := w.tx.Exec(`delete from failures where kind = 'user' and name = ?`, user); err != nil {
			return err
		}
		return w.audit(entry{actor: by, action: actionPIPassword, subject: user})
	})
}

// DisablePI ends a PI's signing, for ever. Disabling again changes nothing.
func (o *Outbox) DisablePI(ctx context.Context, by, user string) error {
	return o.administer(ctx, by, "disable PI", func(w *work) error {
		p, err := w.person(user)
		if err != nil || p.Disabled != "" {
			return err
		}
		_, err = w.tx.Exec(`update people set disabled = ? where user = ?`, events.FormatTime(w.now), user)
		if err != nil {
			return err
		}
		return w.audit(entry{actor: by, action: actionPIDisabled, subject: user})
	})
}

// PIs gives all PIs, by user name.
func (o *Outbox) PIs(ctx context.Context) ([]PI, error) {
	var people []person
	err := o.db.Reader.SelectContext(ctx, &people, `select user, name, password, disabled from people order by user`)
	if err != nil {
		return nil, fmt.Errorf("list PIs: %w", err)
	}
	out := make([]PI, len(people))
	for i, p := range people {
		if out[i], err = o.describe(ctx, p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (o *Outbox) describe(ctx context.Context, p person) (PI, error) {
	pi := PI{User: p.User, Name: p.Name, Studies: []string{}, Disabled: p.Disabled != ""}
	err := o.db.Reader.SelectContext(ctx, &pi.Studies, `select study from grants where user = ? order by study`, p.User)
	if err != nil {
		return pi, fmt.Errorf("list grants: %w", err)
	}
	return pi, nil
}

// person is a PI as stored.
type person struct {
	User     string `db:"user"`
	Name     string `db:"name"`
	Password string `db:"password"`
	Disabled string `db:"disabled"`
}

func (w *work) person(user string) (p person, err error) {
	err = w.tx.Get(&p, `select user, name, password, disabled from people where user = ?`, user)
	if errors.Is(err, sql.ErrNoRows) {
		return p, unknownPI(user)
	}
	return p, err
}

func unknownPI(user string) error { return events.Errorf(events.NotFound, "there is no PI %q", user) }

// administer is update for what an operator does.
func (o *Outbox) administer(ctx context.Context, by, verb string, fn func(*work) error) error {
	if err := validBy(by); err != nil {
		return err
	}
	return o.update(ctx, verb, fn)
}

// validBy wants to know who acts.
func validBy(by string) error {
	if by == "" || len(by) > 256 {
		return events.Fieldf("by", "must name who acts, in at most 256 bytes")
	}
	return nil
}

func normalize(study string) string { return norm.NFC.String(study) }

func validStudy(study string) (string, error) {
	study = normalize(study)
	return study, events.ValidStudy(study)
}

// validStudies gives the study numbers normalised, sorted, each once.
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
