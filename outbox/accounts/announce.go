package accounts

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// announce appends an event with the new state of a partner or a key to the
// internal study of access, and returns the event's body.
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

// storeState stores the state of a partner or a key in its table, with the number
// of its line of the audit trail. It is no upsert, because a trigger would then ask of a
// changed row the line of a new one.
func storeState(tx *ledger.Tx, table, id string, state []byte, line int64) error {
	result, err := tx.Exec(`update `+table+` set state = ?, line = ? where id = ?`, string(state), line, id)
	if err != nil || ledger.ChangedOne(result) {
		return err
	}
	_, err = tx.Exec(`insert into `+table+` (id, state, line) values (?, ?, ?)`, id, string(state), line)
	return err
}

// announceGrants appends an event for each of the studies to the partner's own internal
// study. The kind is events.AccessGranted or events.AccessRevoked.
func announceGrants(tx *ledger.Tx, partner string, kind events.Kind, studies ...string) error {
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

// announceOldGrants appends the events of grants that were made by a version of the
// program without such events. A partner from then has no internal study yet.
func announceOldGrants(tx *ledger.Tx) error {
	partners, err := database.List(context.Background(), tx, ledger.State[access.Partner], `
		select p.state
		from partners p
		where not exists (select 1 from studies s where s.study = ? || p.id)
		order by p.id`, events.PartnerStudy(""))
	if err != nil {
		return fmt.Errorf("look for partners: %w", err)
	}
	for _, p := range partners {
		if err := announceGrants(tx, p.ID, events.AccessGranted, p.Studies...); err != nil {
			return err
		}
	}
	return nil
}
