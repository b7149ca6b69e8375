package review

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// TrailLine is a line of the audit trail about one assessment.
type TrailLine struct {
	Number int64           `json:"number"`
	Time   time.Time       `json:"time"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"`
	Detail json.RawMessage `json:"detail"` // an object; its members depend on the action

	Study string `json:"-"` // id; that of the assessment when the line was written
}

// Trail returns the lines of the audit trail about the assessment, in order: those that are
// about one of the studies. It may have been in others before anything of it was signed.
// Where it was moved to another study than these, the line leaves out where to.
func (r *Reviews) Trail(ctx context.Context, id string, studies []string) ([]TrailLine, error) {
	lines, err := database.List(ctx, r.ledger.DB.Reader, func(row database.Row) (l TrailLine, err error) {
		var at string
		var detail []byte
		if err := row.Scan(&l.Number, &at, &l.Actor, &l.Action, &l.Study, &detail); err != nil {
			return l, err
		}
		if l.Time, err = events.ParseTime(at); err != nil {
			return l, err
		}
		l.Detail, err = withoutOthers(detail, studies)
		return l, err
	}, `
		select row, time, actor, action, study, detail
		from audit
		where subject = ? and (action like 'assessment.%' or action like 'report.%')
		order by row`, id)
	if err != nil {
		return nil, fmt.Errorf("read audit trail of assessment: %w", err)
	}
	return slices.DeleteFunc(lines, func(l TrailLine) bool { return !slices.Contains(studies, l.Study) }), nil
}

// withoutOthers returns the detail of a line without what is about another study than
// these. Only the line about a move names a study, and then the case in it.
func withoutOthers(detail []byte, studies []string) (json.RawMessage, error) {
	var named struct {
		Study string `json:"study"`
	}
	if err := json.Unmarshal(detail, &named); err != nil || named.Study == "" || slices.Contains(studies, named.Study) {
		return detail, err
	}
	members := make(map[string]json.RawMessage)
	if err := json.Unmarshal(detail, &members); err != nil {
		return nil, err
	}
	delete(members, "study")
	delete(members, "to")
	return json.Marshal(members)
}

// Receipt is what is stored of a sign-off beside the answer to it.
type Receipt struct {
	Hash     string   `json:"hash"` // of the event; not in the audit trail's detail
	Reason   string   `json:"reason,omitempty"`
	Findings []string `json:"findings"` // that the PI was shown; never nil
}

// Receipt returns what is stored of the sign-off of an assessment that the event with this
// id published.
func (r *Reviews) Receipt(ctx context.Context, id, event string) (Receipt, error) {
	var receipt Receipt
	var detail []byte
	err := r.ledger.DB.Reader.QueryRowContext(ctx, `
		select e.hash, l.detail
		from audit l
		join signatures g on g.version = l.version
		join events e on e.row = g.event
		where l.subject = +? and l.action = 'assessment.signed' and e.id = +?`, id, event).Scan(&receipt.Hash, &detail)
	if err != nil {
		return receipt, fmt.Errorf("look up sign-off: %w", err)
	}
	if err := json.Unmarshal(detail, &receipt); err != nil {
		return receipt, fmt.Errorf("read audit trail of assessment: %w", err)
	}
	receipt.Findings = append([]string{}, receipt.Findings...)
	return receipt, nil
}

// SignedTogether returns the versions of a case that were signed by one sign-off, by
// timepoint and assessment id. The sign-off is named by the id of the event of one of them,
// and the case by its study's key and its number. The error is NotFound if there is none.
func (r *Reviews) SignedTogether(ctx context.Context, key string, number int32, event string) (versions []Version, err error) {
	const ofCase = `
		join studies s on s.row = a.study
		where s.token = +? and a.number = +?`
	err = r.ledger.DB.AtOneMoment(ctx, func(q database.Querier) error {
		named, err := database.List(ctx, q, scanVersion, selectVersions+ofCase+` and e.id = +?`, key, number, event)
		if err != nil {
			return err
		}
		if len(named) == 0 {
			return events.Errorf(events.NotFound, "no sign-off of case %d has published an event %q", number, event)
		}
		// The signatures of one sign-off have one time, and no others of the study have it.
		by := named[0].Signature
		versions, err = database.List(ctx, q, scanVersion, selectVersions+ofCase+` and +g."user" = +? and g.time = +?`,
			key, number, by.User, events.FormatTime(by.Time))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up sign-off: %w", err)
	}
	slices.SortFunc(versions, func(a, b Version) int {
		return cmp.Or(cmp.Compare(a.Assessment.Timepoint, b.Assessment.Timepoint), stored.CompareIDs(a.Assessment.ID, b.Assessment.ID))
	})
	return versions, nil
}

// Source returns the id of the source that an assessment belongs to, or an empty string
// if no source has registered it. The error is NotFound if there is no such assessment.
func (r *Reviews) Source(ctx context.Context, id string) (string, error) {
	var source sql.NullString
	err := r.ledger.DB.Reader.QueryRowContext(ctx, `select source from assessments where id = +?`, id).Scan(&source)
	if errors.Is(err, sql.ErrNoRows) {
		return "", stored.Unknown(id)
	}
	if err != nil {
		return "", fmt.Errorf("look up the source: %w", err)
	}
	return source.String, nil
}
