package outbox

import (
	"encoding/json"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// announce appends an event about the state of a partner or a key to the
// internal study of access, and gives its body.
func (w *work) announce(kind events.Kind, subject string, state any) ([]byte, error) {
	data, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("write access event: %w", err)
	}
	chain, err := w.openChain(events.AccessStudy)
	if err != nil {
		return nil, err
	}
	if _, _, err := chain.append(kind, subject, subject, data); err != nil {
		return nil, err
	}
	return data, chain.close()
}

// tell appends to the partner's own internal study that it may see the studies
// from now on, or no longer.
func (w *work) tell(partner string, kind events.Kind, studies ...string) error {
	if len(studies) == 0 {
		return nil
	}
	chain, err := w.openChain(events.PartnerStudy(partner))
	if err != nil {
		return err
	}
	for _, study := range studies {
		grant := events.Grant{Partner: partner, Study: study, Token: events.StudyToken(study)}
		data, err := json.Marshal(grant)
		if err != nil {
			return fmt.Errorf("write access event: %w", err)
		}
		if _, _, err := chain.append(kind, grant.EventSubject(), "", data); err != nil {
			return err
		}
	}
	return chain.close()
}

// openChain gives the end of a study's chain, and creates the study where
// there is none.
func (w *work) openChain(study string) (*chain, error) {
	row, err := w.ensureStudy(study)
	if err != nil {
		return nil, err
	}
	return w.chainOf(row)
}

// tellUntold tells partners of the grants that they were given by a version of
// the program that did not tell them.
func (w *work) tellUntold() error {
	var states [][]byte
	err := w.tx.Select(&states, `
		select p.state
		from partners p
		where not exists (select 1 from studies s where s.study = ?1 || p.id)
		order by p.id`, events.PartnerStudy(""))
	if err != nil {
		return fmt.Errorf("look for partners: %w", err)
	}
	for _, state := range states {
		var p access.Partner
		if err := json.Unmarshal(state, &p); err != nil {
			return fmt.Errorf("read partner: %w", err)
		}
		if err := w.tell(p.ID, events.AccessGranted, p.Studies...); err != nil {
			return err
		}
	}
	return nil
}
