package accounts

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// announce appends an event about the state of a partner or a key to the
// internal study of access, and returns its body.
func announce(tx *ledger.Tx, kind events.Kind, subject string, state any) ([]byte, error) {
	data, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("write access event: %w", err)
	}
	chain, err := tx.OpenChain(events.AccessStudy)
	if err != nil {
		return nil, err
	}
	if _, _, err := chain.Append(kind, subject, subject, data); err != nil {
		return nil, err
	}
	return data, chain.Close()
}

// tell appends to the partner's own internal study that it may see the studies
// from now on, or no longer.
func tell(tx *ledger.Tx, partner string, kind events.Kind, studies ...string) error {
	if len(studies) == 0 {
		return nil
	}
	chain, err := tx.OpenChain(events.PartnerStudy(partner))
	if err != nil {
		return err
	}
	for _, study := range studies {
		grant := events.Grant{Partner: partner, Study: study, StudyKey: events.StudyKey(study)}
		data, err := json.Marshal(grant)
		if err != nil {
			return fmt.Errorf("write access event: %w", err)
		}
		if _, _, err := chain.Append(kind, grant.EventSubject(), "", data); err != nil {
			return err
		}
	}
	return chain.Close()
}

// tellUntold tells partners of the grants that they were given by a version of
// the program that did not tell them.
func tellUntold(tx *ledger.Tx) error {
	partners, err := ledger.States[access.Partner](context.Background(), tx, `
		select p.state
		from partners p
		where not exists (select 1 from studies s where s.study = ? || p.id)
		order by p.id`, events.PartnerStudy(""))
	if err != nil {
		return fmt.Errorf("look for partners: %w", err)
	}
	for _, p := range partners {
		if err := tell(tx, p.ID, events.AccessGranted, p.Studies...); err != nil {
			return err
		}
	}
	return nil
}
