package review

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// MaxPerPage bounds how many cases or signatures one call returns.
const MaxPerPage = 200

// QueueFilter selects cases in which something waits.
type QueueFilter struct {
	Studies []string // ids; cases of other studies are left out
	After   int64    // the position of the last case of the page before; 0 for the first page
	Limit   int      // at most MaxPerPage
}

// QueuedCase is a case in which at least one version waits.
type QueuedCase struct {
	Case
	Position int64     `json:"position"` // of the case in the queue
	Oldest   time.Time `json:"oldest"`   // when the version was registered that waits longest
}

// Queue returns the cases in which a version waits, by the registration of the one that
// waits longest. The position of the last one is After of the next page. A case that is
// signed or registered between two pages does not shift the others: none is left out
// that waited all the time, and none is returned twice.
func (r *Reviews) Queue(ctx context.Context, f QueueFilter) (page []QueuedCase, err error) {
	studies, err := studiesJSON(f.Studies)
	if err != nil {
		return nil, err
	}
	err = r.atOneMoment(ctx, func(q database.Querier) error {
		page, err = database.List(ctx, q, scanQueued, `
			select s.study, w.number, w.oldest, v.time
			from (
				select study, number, min(waiting) as oldest
				from assessments
				where waiting is not null
				group by study, number
			) w
			join studies s on s.row = w.study
			join versions v on v.row = w.oldest
			where w.oldest > ? and s.study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`)
			order by w.oldest
			limit ?`, f.After, studies, limit(f.Limit))
		if err != nil {
			return err
		}
		for i := range page {
			if page[i].Case, err = readCase(ctx, q, page[i].Study, page[i].Number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list waiting cases: %w", err)
	}
	return page, nil
}

func scanQueued(row database.Row) (c QueuedCase, err error) {
	var oldest string
	if err := row.Scan(&c.Study, &c.Number, &c.Position, &oldest); err != nil {
		return c, err
	}
	c.Oldest, err = events.ParseTime(oldest)
	return c, err
}

// limit returns the number of rows of a page.
func limit(asked int) int {
	if asked < 1 || asked > MaxPerPage {
		return MaxPerPage
	}
	return asked
}

// studiesJSON returns the study ids as the parameter of database.DB.JSONRows.
func studiesJSON(studies []string) (string, error) {
	rows := make([][]string, len(studies))
	for i, study := range studies {
		rows[i] = []string{ledger.NormalizeStudy(study)}
	}
	text, err := json.Marshal(rows)
	return string(text), err
}

// CaseOf names a case.
type CaseOf struct {
	Study  string `json:"study"`
	Number int32  `json:"case"`
}

func scanCaseOf(row database.Row) (c CaseOf, err error) {
	return c, row.Scan(&c.Study, &c.Number)
}

// Find returns the cases of a subject in the studies with these ids, by study and case
// number, at most MaxPerPage.
func (r *Reviews) Find(ctx context.Context, studies []string, subject string) ([]CaseOf, error) {
	in, err := studiesJSON(studies)
	if err != nil {
		return nil, err
	}
	found, err := database.List(ctx, r.ledger.DB.Reader, scanCaseOf, `
		select s.study, c.number
		from cases c
		join studies s on s.row = c.study
		where c.subject = ? and s.study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`)
		order by s.study, c.number
		limit ?`, subject, in, MaxPerPage)
	if err != nil {
		return nil, fmt.Errorf("find subject: %w", err)
	}
	return found, nil
}

// SignedFilter selects signatures of sign-offs.
type SignedFilter struct {
	User   string // who signed
	Study  string // id; empty for all
	Before int64  // the registration of the last version of the page before; 0 for the first page
	Limit  int    // at most MaxPerPage
}

// Signed returns the versions that a PI has signed, the latest registration first. The
// Registration of the last one is Before of the next page.
func (r *Reviews) Signed(ctx context.Context, f SignedFilter) ([]Version, error) {
	study := ledger.NormalizeStudy(f.Study)
	signed, err := database.List(ctx, r.ledger.DB.Reader, scanVersion, selectVersions+`
		join studies s on s.row = a.study
		where g."user" = ? and (? = 0 or g.version < ?) and (? = '' or s.study = ?)
		order by g.version desc
		limit ?`, f.User, f.Before, f.Before, study, study, limit(f.Limit))
	if err != nil {
		return nil, fmt.Errorf("list signed versions: %w", err)
	}
	return signed, nil
}
