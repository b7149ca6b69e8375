package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	actionRefused     = "assessment.sign-refused" // to a PI who had given the right password
	actionNotTaken    = "report.withdraw-refused" // likewise
	actionParked      = "study.parked"
	actionReleasing   = "study.release-requested"
	actionReleased    = "study.released"
)

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	Number     int64           `json:"number"` // 1, 2, 3 …
	Time       time.Time       `json:"time"`
	Actor      string          `json:"actor"` // a PI, source or operator; empty in a failed sign-in, whose detail has the name that was tried
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

// refusal is a signature that was refused.
type refusal struct {
	user            string
	ids             []string // of assessments
	meaning, reason string
	withdrawal      bool
}

// Bounds of the audit line of a refusal.
const (
	maxRefusedIDs     = 100
	maxRefusedMessage = 1000 // bytes; a message may quote what is malformed
)

// RecordRefusal audits that a sign-off was refused, and returns the refusal; if it cannot
// be audited, the cause of that too. SignOff does so by itself. A host calls it when
// SignOffTx has returned an error and its transaction, in which the line would be undone,
// has been rolled back. Another error than a refusal, such as a full disk, is no line.
func (o *Outbox) RecordRefusal(ctx context.Context, s SignOff, err error) error {
	return o.recordRefusal(ctx, refusal{user: s.User, ids: s.IDs, meaning: s.Meaning}, err)
}

func (o *Outbox) recordRefusal(ctx context.Context, r refusal, cause error) error {
	var refused *events.Error
	if !errors.As(cause, &refused) {
		return cause
	}
	switch refused.Code {
	case events.Unavailable, events.Internal, events.Outdated:
		return cause // nothing was decided
	}
	err := o.ledger.UpdateSilently(context.WithoutCancel(ctx), "record refused signature", func(tx *ledger.Tx) error {
		return r.audit(tx, refused)
	})
	if err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// audit writes the line. What is malformed is left out of it.
func (r refusal) audit(tx *ledger.Tx, cause *events.Error) error {
	detail := struct {
		Code        events.Code `json:"code"`
		Message     string      `json:"message"`
		Meaning     string      `json:"meaning,omitempty"`
		Reason      string      `json:"reason,omitempty"`
		Assessments []string    `json:"assessments,omitempty"` // where there are several
		Number      int         `json:"number,omitempty"`      // of assessments, where not all are listed
	}{Code: cause.Code, Message: strings.ToValidUTF8(cause.Message[:min(len(cause.Message), maxRefusedMessage)], "")}
	line := ledger.Line{Action: actionRefused}
	if r.withdrawal {
		line.Action = actionNotTaken
	}
	if events.ValidUser(r.user) {
		line.Actor = r.user
	}
	if events.ValidMeaning(r.meaning) == nil {
		detail.Meaning = r.meaning
	}
	if events.ValidReason(r.reason) == nil {
		detail.Reason = r.reason
	}
	ids := slices.DeleteFunc(slices.Clone(r.ids), func(id string) bool { return !events.ValidFHIRID(id) })
	if len(ids) > 0 {
		if err := tx.QueryRow(`
			select s.study
			from assessments a
			join studies s on s.row = a.study
			where a.id = +?`, ids[0]).Scan(&line.Study); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look up study: %w", err)
		}
	}
	switch {
	case len(ids) == 1:
		line.Subject = ids[0]
	case len(ids) > maxRefusedIDs:
		detail.Assessments, detail.Number = ids[:maxRefusedIDs], len(ids)
	default:
		detail.Assessments = ids
	}
	line.Detail = detail
	return tx.Audit(line)
}
