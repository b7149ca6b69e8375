package review

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// SignatureRecord is the signature of a version of an assessment.
type SignatureRecord struct {
	Assessment   string // id
	Version      events.Version
	Registration int64 // Waiting.Registration of the version
	events.Signature
	Number     uint64            // study number of the event that published it
	Withdrawal *WithdrawalRecord // nil unless the version was withdrawn
}

// Signatures returns the signatures of all versions of a case, those of former versions
// too, in the order of signing.
func (r *Reviews) Signatures(ctx context.Context, of CaseOf) ([]SignatureRecord, error) {
	signatures, err := database.List(ctx, r.ledger.DB.Reader, func(row database.Row) (s SignatureRecord, err error) {
		var signed, withdrawn string
		var w WithdrawalRecord
		err = row.Scan(&s.Assessment, &s.Version.CaseRevision, &s.Version.Revision, &s.Registration,
			&s.User, &s.Name, &s.Meaning, &signed, &s.Number,
			&w.User, &w.Name, &w.Meaning, &withdrawn, &w.Reason)
		if err != nil {
			return s, err
		}
		if s.Time, err = events.ParseTime(signed); err != nil || withdrawn == "" {
			return s, err
		}
		s.Withdrawal = &w
		w.Time, err = events.ParseTime(withdrawn)
		return s, err
	}, `
		select a.id, v.case_revision, v.revision, v.row,
			g."user", g.name, g.meaning, g.time, e.sequence,
			coalesce(w."user", ''), coalesce(w.name, ''), coalesce(w.meaning, ''), coalesce(w.time, ''), coalesce(w.reason, '')
		from studies s
		join assessments a on a.study = s.row
		join versions v on v.assessment = a.id
		join signatures g on g.version = v.row
		join events e on e.row = g.event
		left join withdrawals w on w.version = v.row
		where s.study = +? and a.number = +?
		order by g.event`, ledger.NormalizeStudy(of.Study), of.Number)
	if err != nil {
		return nil, fmt.Errorf("list the signatures of a case: %w", err)
	}
	return signatures, nil
}
