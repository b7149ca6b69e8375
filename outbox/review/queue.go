package review

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
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
	err = r.ledger.DB.AtOneMoment(ctx, func(q database.Querier) error {
		page, err = database.List(ctx, q, scanQueued, `
			select s.study, w.number, w.oldest, v.time
			from (
				select study, number, min(waiting) as oldest
				from assessments
				where waiting is not null
					and study in (select row from studies where study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`))
				group by study, number
			) w
			join studies s on s.row = w.study
			join versions v on v.row = w.oldest
			where w.oldest > +?
			order by w.oldest
			limit +?`, studies, f.After, limit(f.Limit))
		if err != nil {
			return err
		}
		for i := range page {
			if page[i].Case, err = readCase(ctx, q, whole, stored.DecodeWithDigest, page[i].Study, page[i].Number); err != nil {
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

// QueueSize is how much waits.
type QueueSize struct {
	Studies, Cases, Assessments int
	Seen                        int       // cases up to QueueFilter.After
	Oldest                      time.Time // when the version was registered that waits longest; zero for none
	Newest                      int64     // position of the version registered last of those that wait; 0 for none
}

// QueueSize returns how much waits in the studies of the filter.
func (r *Reviews) QueueSize(ctx context.Context, f QueueFilter) (size QueueSize, err error) {
	studies, err := studiesJSON(f.Studies)
	if err != nil {
		return size, err
	}
	var oldest string
	err = r.ledger.DB.Reader.QueryRowContext(ctx, `
		select q.studies, q.cases, q.assessments, q.seen, q.newest, coalesce(v.time, '')
		from (
			select count(distinct study) as studies, count(*) as cases, coalesce(sum(number_of), 0) as assessments,
				coalesce(sum(oldest <= ?), 0) as seen, min(oldest) as oldest, coalesce(max(newest), 0) as newest
			from (
				select study, min(waiting) as oldest, max(waiting) as newest, count(*) as number_of
				from assessments
				where waiting is not null and study in (
					select row
					from studies
					where study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`)
				)
				group by study, number
			) w
		) q
		left join versions v on v.row = q.oldest`, f.After, studies).Scan(&size.Studies, &size.Cases, &size.Assessments, &size.Seen, &size.Newest, &oldest)
	if err == nil && oldest != "" {
		size.Oldest, err = events.ParseTime(oldest)
	}
	if err != nil {
		return size, fmt.Errorf("count what waits: %w", err)
	}
	return size, nil
}

// StampedCase is a case and its stamp.
type StampedCase struct {
	CaseOf
	Stamp string
}

// Stamps returns the cases of the studies in which a version waits, each with its stamp. It
// reads no contents, so it is cheap beside Queue.
func (r *Reviews) Stamps(ctx context.Context, studies []string) (cases []StampedCase, err error) {
	in, err := studiesJSON(studies)
	if err != nil {
		return nil, err
	}
	var text stampText
	err = database.Each(ctx, r.ledger.DB.Reader, func(row database.Row) error {
		var of CaseOf
		var subject, id string
		var revision int32
		var waiting, signed int64
		var withdrawn bool
		if err := row.Scan(&of.Study, &of.Number, &subject, &revision, &id, &waiting, &signed, &withdrawn); err != nil {
			return err
		}
		if n := len(cases); n == 0 || cases[n-1].CaseOf != of {
			if n > 0 {
				cases[n-1].Stamp = text.stamp()
			}
			cases, text = append(cases, StampedCase{CaseOf: of}), newStampText(subject, revision)
		}
		text.add(id, waiting, signed, withdrawn)
		return nil
	}, `
		select s.study, c.number, c.subject, c.revision, a.id, coalesce(a.waiting, 0), coalesce(a.signed, 0),
			exists (select 1 from withdrawals w where w.version = a.signed)
		from studies s
		join cases c on c.study = s.row
		join assessments a on a.study = c.study and a.number = c.number
		where s.study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`) and exists (
			select 1
			from assessments b
			where b.study = c.study and b.number = c.number and b.waiting is not null
		)
		order by s.row, c.number, a.id`, in)
	if err != nil {
		return nil, fmt.Errorf("list stamps of waiting cases: %w", err)
	}
	if n := len(cases); n > 0 {
		cases[n-1].Stamp = text.stamp()
	}
	return cases, nil
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
		where c.subject = +? and s.study in (select c0 from `+r.ledger.DB.JSONRows("c0")+`)
		order by s.study, c.number
		limit +?`, subject, in, MaxPerPage)
	if err != nil {
		return nil, fmt.Errorf("find subject: %w", err)
	}
	return found, nil
}

// SignedFilter selects signatures of sign-offs.
type SignedFilter struct {
	User   string // who signed
	Study  string // id; empty for all
	Before int64  // the Position of the last version of the page before; 0 for the first page
	Limit  int    // at most MaxPerPage
}

// SignedVersion is a version that was signed.
type SignedVersion struct {
	Version
	Position int64 // in the order of signatures
	Last     bool  // whether it is the version of its assessment that was signed last
}

// Signed returns the versions that a PI has signed, the latest signature first. The
// Position of the last one is Before of the next page.
func (r *Reviews) Signed(ctx context.Context, f SignedFilter) (page []SignedVersion, err error) {
	study := ledger.NormalizeStudy(f.Study)
	err = r.ledger.DB.AtOneMoment(ctx, func(q database.Querier) error {
		// The positions are those of the events, whose order is that of the signatures. The
		// contents are read afterwards, so that only few of them are sorted.
		page, err = database.List(ctx, q, func(row database.Row) (v SignedVersion, err error) {
			return v, row.Scan(&v.Registration, &v.Position, &v.Last)
		}, `
			select g.version, g.event, g.version = a.signed
			from signatures g
			join versions v on v.row = g.version
			join assessments a on a.id = v.assessment
			join studies s on s.row = a.study
			where g."user" = +? and (? = 0 or g.event < +?) and (? = '' or s.study = ?)
			order by g.event desc
			limit +?`, f.User, f.Before, f.Before, study, study, limit(f.Limit))
		for i := 0; i < len(page) && err == nil; i++ {
			page[i].Version, err = scanVersion(q.QueryRowContext(ctx, selectVersions+`
				where v.row = +?`, page[i].Registration))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list signed versions: %w", err)
	}
	return page, nil
}
