package review

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Place is where a case stands in the queue.
type Place struct {
	Number int // 1 for the case that waits longest; 0 if nothing of the case waits
	Total  int // cases in the queue

	// Previous and Next are the cases before and after it, zero where there is none. If
	// nothing of the case waits, Next is the first of the queue.
	Previous, Next CaseOf
}

// Place returns where a case stands in the queue of the studies with these ids. The queue
// has the order of Queue.
func (r *Reviews) Place(ctx context.Context, studies []string, of CaseOf) (p Place, err error) {
	in, err := studiesJSON(studies)
	if err != nil {
		return p, err
	}
	err = r.ledger.DB.Reader.QueryRowContext(ctx, `
		with queue as (
			select study, number, min(waiting) as oldest
			from assessments
			where waiting is not null
				and study in (select row from studies where study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`))
			group by study, number
		), here as (
			select oldest
			from queue
			where study = (select row from studies where study = +?) and number = +?
		), near as (
			select
				(select count(*) from queue) as total,
				(select count(*) from queue where oldest <= (select oldest from here)) as place,
				(select max(oldest) from queue where oldest < (select oldest from here)) as previous,
				(select min(oldest) from queue where oldest > coalesce((select oldest from here), 0)) as next
		)
		select near.total, near.place, coalesce(sp.study, ''), coalesce(ap.number, 0), coalesce(sn.study, ''), coalesce(an.number, 0)
		from near
		left join versions vp on vp.row = near.previous
		left join assessments ap on ap.id = vp.assessment
		left join studies sp on sp.row = ap.study
		left join versions vn on vn.row = near.next
		left join assessments an on an.id = vn.assessment
		left join studies sn on sn.row = an.study`, in, ledger.NormalizeStudy(of.Study), of.Number).
		Scan(&p.Total, &p.Number, &p.Previous.Study, &p.Previous.Number, &p.Next.Study, &p.Next.Number)
	if err != nil {
		return p, fmt.Errorf("find the place of a case in the queue: %w", err)
	}
	return p, nil
}
