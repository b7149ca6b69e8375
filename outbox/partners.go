package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

const wrongSecret = "The client id or the client secret is wrong."

// AddPartner adds a partner and gives its client secret, which is kept nowhere
// but as a digest. The id of a removed partner is not given again: Conflict.
func (o *Outbox) AddPartner(ctx context.Context, by, id, name string, studies []string) (secret string, err error) {
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
	err = o.administer(ctx, by, "add partner", func(w *work) error {
		_, err := w.partner(id)
		if err == nil {
			return events.Errorf(events.Conflict, "the partner id %s was given before; ids are never used again", id)
		}
		if !errors.Is(err, events.NotFound) {
			return err
		}
		detail := struct {
			Name    string   `json:"name"`
			Studies []string `json:"studies"`
		}{name, studies}
		if err := w.announcePartner(p, entry{actor: by, action: actionPartnerAdded, detail: detail}); err != nil {
			return err
		}
		if err := w.openReceipts(id, append([]string{events.PartnerStudy(id)}, studies...)...); err != nil {
			return err
		}
		return w.tell(id, events.AccessGranted, studies...)
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// GrantPartner lets a partner see a study. Granting again changes nothing.
func (o *Outbox) GrantPartner(ctx context.Context, by, id, study string) error {
	study, err := validStudy(study)
	if err != nil {
		return err
	}
	return o.changePartner(ctx, by, id, func(w *work, p access.Partner) error {
		if p.Granted(study) {
			return nil
		}
		p.Studies = append(slices.Clone(p.Studies), study)
		slices.Sort(p.Studies)
		if err := w.announcePartner(p, entry{actor: by, action: actionPartnerGranted, study: study}); err != nil {
			return err
		}
		if err := w.openReceipts(id, study); err != nil {
			return err
		}
		return w.tell(id, events.AccessGranted, study)
	})
}

// RevokePartner takes a study from a partner. It is NotFound if the partner
// does not have it.
func (o *Outbox) RevokePartner(ctx context.Context, by, id, study string) error {
	study = normalize(study)
	return o.changePartner(ctx, by, id, func(w *work, p access.Partner) error {
		if !p.Granted(study) {
			return events.Errorf(events.NotFound, "partner %s has no grant for study %s", id, study)
		}
		p.Studies = slices.DeleteFunc(slices.Clone(p.Studies), func(s string) bool { return s == study })
		ended, err := w.closeReceipts(id, study)
		if err != nil {
			return err
		}
		if err := w.announcePartner(p, entry{actor: by, action: actionPartnerRevoked, study: study, detail: endedDetail{ended}}); err != nil {
			return err
		}
		return w.tell(id, events.AccessRevoked, study)
	})
}

// maxSecrets is how many client secrets of a partner may be in force at once.
const maxSecrets = 8

// RotatePartner gives a partner a new client secret. The ones before stay good
// for the grace time; without one, what they opened ends at once. It is a
// Conflict if too many are in force already.
func (o *Outbox) RotatePartner(ctx context.Context, by, id string, grace time.Duration) (secret string, err error) {
	if grace < 0 {
		return "", events.Fieldf("grace", "must not be negative")
	}
	secret = newSecret()
	err = o.changePartner(ctx, by, id, func(w *work, p access.Partner) error {
		p.Secrets = append(expire(p.Secrets, w.now, grace), access.Secret{SHA256: access.DigestSecret(secret)})
		if len(p.Secrets) > maxSecrets {
			return events.Errorf(events.Conflict, "partner %s has %d secrets in force: wait until one expires, or rotate without grace", id, maxSecrets)
		}
		detail := struct {
			Grace string `json:"grace"`
		}{grace.String()}
		return w.announcePartner(p, entry{actor: by, action: actionPartnerRotated, detail: detail})
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// expire gives the secrets that are still good, until now + grace at most.
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

// RemovePartner ends a partner's access, for ever.
func (o *Outbox) RemovePartner(ctx context.Context, by, id string) error {
	return o.changePartner(ctx, by, id, func(w *work, p access.Partner) error {
		studies := p.Studies
		ended, err := w.closeReceipts(id, append(slices.Clone(studies), events.PartnerStudy(id))...)
		if err != nil {
			return err
		}
		p.Enabled, p.Studies, p.Secrets = false, []string{}, []access.Secret{}
		if err := w.announcePartner(p, entry{actor: by, action: actionPartnerRemoved, detail: endedDetail{ended}}); err != nil {
			return err
		}
		return w.tell(id, events.AccessRevoked, studies...)
	})
}

// Partners gives all partners, removed ones too, by id.
func (o *Outbox) Partners(ctx context.Context) ([]access.Partner, error) {
	return listStates[access.Partner](ctx, o, `select state from partners order by id`)
}

// AuthenticateClient gives the partner whose client id and secret these are.
// The errors are those of Authenticate. A lock holds for the client from that
// address only, so a stranger cannot lock a partner out.
func (o *Outbox) AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error) {
	a := attempt{kind: kindClient, name: id, address: access.Place(address)}
	if !events.ValidPartnerID(id) {
		a.name = ""
	}
	failures, err := o.failures(ctx, a)
	if err != nil {
		return access.Partner{}, err
	}
	found, err := listStates[access.Partner](ctx, o, `select state from partners where id = ?`, a.name)
	if err != nil {
		return access.Partner{}, err
	}
	var p access.Partner
	reason := "unknown client"
	if len(found) == 1 {
		p, reason = found[0], "wrong secret"
	}
	if !p.Opens(secret, o.now()) {
		return access.Partner{}, o.fail(ctx, a, reason, wrongSecret)
	}
	if failures > 0 {
		if err := o.forgetFailures(ctx, a); err != nil {
			return access.Partner{}, err
		}
	}
	return p, nil
}

// changePartner runs fn on a partner that is not removed.
func (o *Outbox) changePartner(ctx context.Context, by, id string, fn func(*work, access.Partner) error) error {
	return o.administer(ctx, by, "change partner", func(w *work) error {
		p, err := w.partner(id)
		if err != nil {
			return err
		}
		if !p.Enabled {
			return events.Errorf(events.Conflict, "partner %s was removed", id)
		}
		return fn(w, p)
	})
}

func (w *work) partner(id string) (p access.Partner, err error) {
	var state []byte
	err = w.tx.QueryRow(`select state from partners where id = ?`, id).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return p, events.Errorf(events.NotFound, "there is no partner %q", id)
	}
	if err != nil {
		return p, fmt.Errorf("look up partner: %w", err)
	}
	return p, json.Unmarshal(state, &p)
}

// announcePartner stores a partner's new state, with its event and audit line.
func (w *work) announcePartner(p access.Partner, e entry) error {
	state, err := w.announce(events.AccessPartner, p.EventSubject(), p)
	if err != nil {
		return err
	}
	_, err = w.tx.Exec(`
		insert into partners (id, state)
		values (?, ?)
		on conflict do update
		set state = excluded.state`, p.ID, string(state))
	if err != nil {
		return fmt.Errorf("store partner: %w", err)
	}
	e.subject = p.ID
	return w.audit(e)
}

// listStates reads values that are stored as JSON.
func listStates[T any](ctx context.Context, o *Outbox, query string, args ...any) ([]T, error) {
	var states [][]byte
	if err := o.db.Reader.SelectContext(ctx, &states, query, args...); err != nil {
		return nil, fmt.Errorf("read access state: %w", err)
	}
	out := make([]T, len(states))
	for i, s := range states {
		if err := json.Unmarshal(s, &out[i]); err != nil {
			return nil, fmt.Errorf("read access state: %w", err)
		}
	}
	return out, nil
}
