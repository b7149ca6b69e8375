package review

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// StudySize is how much is stored of a study.
type StudySize struct {
	Study, Key   string
	Cases        int
	Waiting      int // cases in which a version waits
	Signed       int // assessments of which a version was signed
	Available    int // assessments that partners have now
	WaitingItems int // versions that wait
}

// StudySize returns how much is stored of the study with this id. All counts are 0 if
// nothing is.
func (r *Reviews) StudySize(ctx context.Context, study string) (StudySize, error) {
	study = ledger.NormalizeStudy(study)
	size := StudySize{Study: study, Key: ledger.StudyKey(study)}
	err := r.ledger.DB.Reader.QueryRowContext(ctx, `
		select
			(select count(*) from cases c join studies s on s.row = c.study where s.study = +?),
			count(distinct case when a.waiting is not null then a.number end),
			count(a.waiting), count(a.signed), coalesce(sum(a.available), 0)
		from assessments a
		join studies s on s.row = a.study
		where s.study = +?`, study, study).Scan(&size.Cases, &size.Waiting, &size.WaitingItems, &size.Signed, &size.Available)
	if err != nil {
		return size, fmt.Errorf("count what is stored of study %s: %w", study, err)
	}
	return size, nil
}
