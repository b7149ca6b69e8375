package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Actions in the audit trail, beside those of package accounts.
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
)

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	Number     int64           `json:"number"` // 1, 2, 3 …
	Time       time.Time       `json:"time"`
	Actor      string          `json:"actor"` // a PI, source or operator; in a failed sign-in the name that was tried
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
// order, until fn returns an error, which it then returns.
func (o *Outbox) Audit(ctx context.Context, filter AuditFilter, fn func(AuditEntry) error) error {
	filter.Study = ledger.NormalizeStudy(filter.Study)
	var stopped error // returned by fn, and to be returned as it is
	err := database.Each(ctx, o.db.Reader, func(row database.Row) error {
		entry, err := scanAudit(row)
		if err == nil {
			stopped = fn(entry)
		}
		return cmp.Or(err, stopped)
	}, `
		select a.row, a.time, a.actor, a.action, a.study, a.subject, a.detail, v.content
		from audit a
		left join versions v on v.row = a.version
		where a.row > ?
			and (? = '' or a.study = ?)
			and (? = '' or a.subject = ?)
		order by a.row`,
		filter.After, filter.Study, filter.Study, filter.Subject, filter.Subject)
	if err != nil && stopped == nil {
		return fmt.Errorf("read audit trail: %w", err)
	}
	return err
}

func scanAudit(row database.Row) (e AuditEntry, err error) {
	var moment string
	var detail, content []byte
	err = row.Scan(&e.Number, &moment, &e.Actor, &e.Action, &e.Study, &e.Subject, &detail, &content)
	if err != nil {
		return e, err
	}
	e.Detail, e.Assessment = detail, content
	e.Time, err = events.ParseTime(moment)
	return e, err
}
