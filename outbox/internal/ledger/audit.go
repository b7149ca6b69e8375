package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Line is a line of the audit trail to be written.
type Line struct {
	Time    time.Time // Defaults to the transaction's Now.
	Actor   string
	Action  string
	Study   string // number
	Subject string
	Version int64 // versions.row, 0 for none
	Detail  any   // becomes a JSON object
}

// Audit adds a line to the audit trail.
func (tx *Tx) Audit(l Line) error {
	detail := []byte("{}")
	if l.Detail != nil {
		var err error
		if detail, err = json.Marshal(l.Detail); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if l.Time.IsZero() {
		l.Time = tx.Now
	}
	_, err := tx.Exec(`
		insert into audit (time, actor, action, study, subject, version, detail)
		values (?, ?, ?, ?, ?, nullif(?, 0), ?)`,
		events.FormatTime(l.Time), l.Actor, l.Action, l.Study, l.Subject, l.Version, string(detail))
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
