package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
)

const wrongSecret = "The client id or the client secret is wrong."

// AddPartner adds a partner and returns its client secret, of which only a digest
// is stored. The error is a Conflict if the id was ever used, even by a partner
// that was removed.
func (acc *Accounts) AddPartner(ctx context.Context, by, id, name string, studies []string) (secret string, err error) {
	if !events.ValidPartnerID(id) {
		return "", events.Fieldf("id", "%q is not 1 to 64 of A-Z, a-z, 0-9, _ and -", id)
	}
	if name != "" {
		if err := events.ValidPrintedName(name); err != nil {
			return "", err
		}
	}
	if studies, err = validStudies(studies); err != nil {
		return "", err
	}
	secret = newSecret()
	p := access.Partner{
		ID: id, Name: name, Studies: studies, Enabled: true,
		Secrets: []access.Secret{{SHA256: access.DigestSecret(secret)}},
	}
	err = acc.ledger.Administer(ctx, by, "add partner", func(tx *ledger.Tx) error {
		_, err := findPartner(context.WithoutCancel(ctx), tx, id)
		if err == nil {
			return events.Errorf(events.Conflict, "the partner id %s was used before; choose another one", id)
		}
		if !errors.Is(err, events.NotFound) {
			return err
		}
		detail := struct {
			Name    string   `json:"name"`
			Studies []string `json:"studies"`
		}{name, studies}
		if err := announcePartner(tx, p, ledger.Line{Actor: by, Action: actionPartnerAdded, Detail: detail}); err != nil {
			return err
		}
		if err := receipts.Open(tx, id, append([]string{events.PartnerStudy(id)}, studies...)...); err != nil {
			return err
		}
		return announceGrants(tx, id, events.AccessGranted, studies...)
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// GrantPartner lets a partner read a study. Granting again changes nothing.
func (acc *Accounts) GrantPartner(ctx context.Context, by, id, study string) error {
	study, err := validStudy(study)
	if err != nil {
		return err
	}
	return acc.changePartner(ctx, by, id, func(tx *ledger.Tx, p access.Partner) error {
		if p.Granted(study) {
			return nil
		}
		p.Studies = append(slices.Clone(p.Studies), study)
		slices.Sort(p.Studies)
		if err := announcePartner(tx, p, ledger.Line{Actor: by, Action: actionPartnerGranted, Study: study}); err != nil {
			return err
		}
		if err := receipts.Open(tx, id, study); err != nil {
			return err
		}
		return announceGrants(tx, id, events.AccessGranted, study)
	})
}

// RevokePartner revokes a partner's grant for a study. The error is NotFound if
// there is no such grant.
func (acc *Accounts) RevokePartner(ctx context.Context, by, id, study string) error {
	study = ledger.NormalizeStudy(study)
	return acc.changePartner(ctx, by, id, func(tx *ledger.Tx, p access.Partner) error {
		if !p.Granted(study) {
			return events.Errorf(events.NotFound, "partner %s has no grant for study %s", id, study)
		}
		p.Studies = slices.DeleteFunc(slices.Clone(p.Studies), func(s string) bool { return s == study })
		ended, err := receipts.Close(tx, id, study)
		if err != nil {
			return err
		}
		if err := announcePartner(tx, p, ledger.Line{Actor: by, Action: actionPartnerRevoked, Study: study, Detail: endedDetail{ended}}); err != nil {
			return err
		}
		return announceGrants(tx, id, events.AccessRevoked, study)
	})
}

// maxSecrets is how many client secrets of a partner are valid at once.
const maxSecrets = 8

// RotatePartner makes a new client secret for a partner and returns it. The
// former ones stay valid for the grace time; without one, they and the access
// tokens obtained with them are invalid at once. The error is a Conflict if too
// many are valid already.
func (acc *Accounts) RotatePartner(ctx context.Context, by, id string, grace time.Duration) (secret string, err error) {
	if grace < 0 {
		return "", events.Fieldf("grace", "must not be negative")
	}
	secret = newSecret()
	err = acc.changePartner(ctx, by, id, func(tx *ledger.Tx, p access.Partner) error {
		p.Secrets = append(expire(p.Secrets, tx.Now, grace), access.Secret{SHA256: access.DigestSecret(secret)})
		if len(p.Secrets) > maxSecrets {
			return events.Errorf(events.Conflict, "partner %s has %d valid secrets; wait until one expires, or rotate without grace", id, maxSecrets)
		}
		detail := struct {
			Grace string `json:"grace"`
		}{grace.String()}
		return announcePartner(tx, p, ledger.Line{Actor: by, Action: actionPartnerRotated, Detail: detail})
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// expire returns the secrets that are still valid at now. Each expires after the grace
// time at the latest. Without a grace time it returns none.
func expire(secrets []access.Secret, now time.Time, grace time.Duration) []access.Secret {
	end := now.Add(grace)
	out := []access.Secret{}
	for _, s := range secrets {
		if s.Expires == nil || s.Expires.After(end) {
			s.Expires = &end
		}
		if s.Expires.After(now) {
			out = append(out, s)
		}
	}
	return out
}

// RemovePartner ends a partner's access for ever. Its grants, secrets and receipts end
// too.
func (acc *Accounts) RemovePartner(ctx context.Context, by, id string) error {
	return acc.changePartner(ctx, by, id, func(tx *ledger.Tx, p access.Partner) error {
		studies := p.Studies
		ended, err := receipts.Close(tx, id, append(slices.Clone(studies), events.PartnerStudy(id))...)
		if err != nil {
			return err
		}
		p.Enabled, p.Studies, p.Secrets = false, []string{}, []access.Secret{}
		if err := announcePartner(tx, p, ledger.Line{Actor: by, Action: actionPartnerRemoved, Detail: endedDetail{ended}}); err != nil {
			return err
		}
		return announceGrants(tx, id, events.AccessRevoked, studies...)
	})
}

// Partners returns all partners, removed ones too, by id.
func (acc *Accounts) Partners(ctx context.Context) ([]access.Partner, error) {
	partners, err := database.List(ctx, acc.ledger.DB.Reader, ledger.State[access.Partner], `select state from partners order by id`)
	if err != nil {
		return nil, fmt.Errorf("list partners: %w", err)
	}
	return partners, nil
}

// AuthenticateClient returns the partner with this client id and secret. The right
// secret is accepted even after many failures. For a wrong secret or an unknown or
// removed client the error is Unauthenticated, and Throttled after five failures in a
// row of that client from that address. Failures are counted and audited.
func (acc *Accounts) AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error) {
	ctx = ledger.WithAddress(ctx, address)
	a := attempt{kind: kindClient, protocol: overHTTP, name: id, address: access.Place(address), from: address}
	if !events.ValidPartnerID(id) {
		a.name = "" // nobody has a malformed id, and it is not to be stored
	}
	p, err := findPartner(ctx, acc.ledger.DB.Reader, a.name)
	if err != nil && !errors.Is(err, events.NotFound) {
		return access.Partner{}, err
	}
	a.known = err == nil
	reason := "wrong secret"
	switch {
	case p.Opens(secret, acc.ledger.Now()):
		return p, nil
	case !a.known:
		reason = "unknown client"
	case !p.Enabled:
		reason = "removed"
	}
	return access.Partner{}, acc.failClient(ctx, a, reason)
}

// changePartner runs fn with the partner in a transaction. The error is NotFound if there
// is no such partner, and a Conflict if it was removed.
func (acc *Accounts) changePartner(ctx context.Context, by, id string, fn func(*ledger.Tx, access.Partner) error) error {
	return acc.ledger.Administer(ctx, by, "change partner", func(tx *ledger.Tx) error {
		p, err := findPartner(context.WithoutCancel(ctx), tx, id)
		if err != nil {
			return err
		}
		if !p.Enabled {
			return events.Errorf(events.Conflict, "partner %s was removed", id)
		}
		return fn(tx, p)
	})
}

// findPartner returns the partner with this id, also one that was removed. In a
// transaction the ctx must have no cancellation; see database.DB.Update.
func findPartner(ctx context.Context, q database.Querier, id string) (access.Partner, error) {
	p, err := ledger.State[access.Partner](q.QueryRowContext(ctx, `select state from partners where id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return p, events.Errorf(events.NotFound, "there is no partner %q", id)
	}
	if err != nil {
		return p, fmt.Errorf("look up partner: %w", err)
	}
	return p, nil
}

// announcePartner appends the event with a partner's new state, adds the audit line, and
// stores the state. It sets the line's Subject.
func announcePartner(tx *ledger.Tx, p access.Partner, e ledger.Line) error {
	state, err := announce(tx, events.AccessPartner, p.EventSubject(), p)
	if err != nil {
		return err
	}
	e.Subject = p.ID
	line, err := tx.AddLine(e)
	if err != nil {
		return err
	}
	if err := storeState(tx, "partners", p.ID, state, line); err != nil {
		return fmt.Errorf("store partner: %w", err)
	}
	return nil
}

// endedDetail is stored in the audit trail when a partner loses studies: how far it had
// received each.
type endedDetail struct {
	Received []receipts.Ended `json:"received"`
}
