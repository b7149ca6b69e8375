package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// What the audit trail records.
const (
	actionRegistered  = "assessment.registered"
	actionReplaced    = "assessment.replaced" // a waiting version, by another
	actionMoved       = "assessment.moved"    // to another case, before anything of it was signed
	actionCaseRebound = "case.rebound"        // to another subject, likewise
	actionSigned      = "assessment.signed"
	actionSuperseded  = "report.superseded"
	actionWithdrawn   = "report.withdrawn"
	actionParked      = "study.parked"
	actionReleasing   = "study.release-requested"
	actionReleased    = "study.released"
	actionFailed      = "sign-in.failed"
	actionLocked      = "sign-in.locked"

	actionPIAdded    = "pi.added"
	actionPIGranted  = "pi.granted"
	actionPIRevoked  = "pi.revoked"
	actionPIPassword = "pi.password-set"
	actionPIRehashed = "pi.password-rehashed" // the same password, by the present cost
	actionPIDisabled = "pi.disabled"

	actionPartnerAdded   = "partner.added"
	actionPartnerGranted = "partner.granted"
	actionPartnerRevoked = "partner.revoked"
	actionPartnerRotated = "partner.rotated"
	actionPartnerRemoved = "partner.removed"
	actionKeyAnnounced   = "key.announced"
	actionKeyRetired     = "key.retired"
)

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	Number     int64           `json:"number"` // 1, 2, 3 …
	Time       time.Time       `json:"time"`
	Actor      string          `json:"actor"` // a PI, source or operator; who is asked for in a failed sign-in
	Action     string          `json:"action"`
	Study      string          `json:"study,omitempty"`
	Subject    string          `json:"subject"`              // an assessment, user, partner, source or key
	Detail     json.RawMessage `json:"detail"`               // an object; its members depend on the action
	Assessment json.RawMessage `json:"assessment,omitempty"` // the version it concerns
}

// AuditFilter selects lines of the audit trail. The zero filter selects all.
type AuditFilter struct {
	Study   string // number
	Subject string
	After   int64 // lines numbered higher
}

// Audit calls fn with each line of the audit trail that the filter selects, in
// order, and ends with fn's error if it returns one.
func (o *Outbox) Audit(ctx context.Context, filter AuditFilter, fn func(AuditEntry) error) error {
	filter.Study = normalize(filter.Study)
	rows, err := o.db.Reader.QueryContext(ctx, `
		select a.row, a.time, a.actor, a.action, a.study, a.subject, a.detail, v.content
		from audit a
		left join versions v on v.row = a.version
		where a.row > ?1
			and (?2 = '' or a.study = ?2)
			and (?3 = '' or a.subject = ?3)
		order by a.row`,
		filter.After, filter.Study, filter.Subject)
	if err != nil {
		return fmt.Errorf("read audit trail: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		entry, err := scanAudit(rows)
		if err != nil {
			return fmt.Errorf("read audit trail: %w", err)
		}
		if err := fn(entry); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read audit trail: %w", err)
	}
	return nil
}

func scanAudit(rows *sql.Rows) (AuditEntry, error) {
	var e AuditEntry
	var moment string
	var detail, content []byte
	err := rows.Scan(&e.Number, &moment, &e.Actor, &e.Action, &e.Study, &e.Subject, &detail, &content)
	if err != nil {
		return e, err
	}
	e.Detail, e.Assessment = detail, content
	e.Time, err = events.ParseTime(moment)
	return e, err
}

// entry is a line to be written; detail becomes a JSON object.
type entry struct {
	time    time.Time // defaults to the work's now
	actor   string
	action  string
	study   string
	subject string
	version int64 // versions.row, 0 for none
	detail  any
}

// audit adds a line to the trail.
func (w *work) audit(e entry) error {
	detail := []byte("{}")
	if e.detail != nil {
		var err error
		if detail, err = json.Marshal(e.detail); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if e.time.IsZero() {
		e.time = w.now
	}
	_, err := w.tx.Exec(`
		insert into audit (time, actor, action, study, subject, version, detail)
		values (?, ?, ?, ?, ?, nullif(?, 0), ?)`,
		events.FormatTime(e.time), e.actor, e.action, e.study, e.subject, e.version, string(detail))
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
