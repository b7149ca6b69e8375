package readmodel_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Values that meet often, at different precisions and at the edges.
var (
	someDates = []string{
		"2014", "2014-01", "2014-01-01", "2014-01-31", "2014-02", "2014-01-02T00:00:00", "2014-01-02T00:00:00.5",
		"2014-01-02T00:00:00.500", "2014-01-02T00:00:00.123456789", "2014-01-02T00:00:00+02:00", "2014-01-01T22:00:00Z",
		"2013-12-31T23:59:59", "0001", "9999", "9999-12-31T23:59:59.999999999", "1600-02-29",
	}
	someIDs = []string{
		"0", "00", "7", "07", "007", "10", "9", "99", "100", "18446744073709551616", "18446744073709551617", "1a", "a", "A", "Z-1", "a.b", "-", ".",
		strings.Repeat("9", 64), strings.Repeat("0", 64), "790", "792",
	}
	someSubjects = []string{"10081007", "S-1", "S 2", "Ünal", "'; drop table reports; --"}
)

// catalogue makes one report for each id, with values drawn from few.
func catalogue() []events.Event {
	s := &study{number: "S1"}
	var list []events.Event
	for i, id := range someIDs {
		for round := range 2 { // the second amends the first
			a := s.assessment(id)
			a.Effective = someDates[(i*7+round*3)%len(someDates)]
			a.Subject = someSubjects[i%len(someSubjects)]
			a.Case.ID = int32(i%3 + 1)
			a.Conclusion = events.Conclusions[i%4]
			if a.Name = events.FollowUp(i%12 + 1); i%5 == 0 {
				a.Name, a.Timepoint = events.Baseline, 0
			}
			kind := events.ReportSigned
			if round > 0 {
				kind = events.ReportAmended
			}
			list = append(list, s.sign(kind, a))
		}
	}
	return list
}

// entry is a report as the plain search below sees it.
type entry struct {
	x    fhir.Index
	date events.Period
	body string
}

func entries(t testing.TB, list []events.Event) []entry {
	byID := map[string]entry{}
	for _, e := range list {
		x, err := fhir.ParseIndex(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		p, err := events.ParsePeriod(x.Effective)
		if err != nil {
			t.Fatal(err)
		}
		byID[x.ID] = entry{x, p, string(e.Data)}
	}
	var all []entry
	for _, e := range byID {
		all = append(all, e)
	}
	return all
}

func (e entry) text(c readmodel.Column) string {
	switch c {
	case readmodel.ColumnID:
		return e.x.ID
	case readmodel.ColumnSubject:
		return e.x.Subject
	case readmodel.ColumnName:
		return e.x.Name
	case readmodel.ColumnConclusion:
		return e.x.Conclusion
	default:
		return strconv.Itoa(int(e.x.Case))
	}
}

func (e entry) period(c readmodel.Column) (p events.Period, ok bool) {
	instant := func(t time.Time) (events.Period, bool) {
		return events.Period{From: t, Until: t.Add(1)}, true // a point: the least that a Period covers
	}
	switch c {
	case readmodel.ColumnDate:
		return e.date, true
	case readmodel.ColumnIssued:
		return instant(e.x.Issued)
	case readmodel.ColumnLastUpdated:
		return instant(e.x.LastUpdated)
	default:
		return p, false
	}
}

func (e entry) matches(c readmodel.Column, want readmodel.Comparison) bool {
	p, ok := e.period(c)
	if !ok {
		return (e.text(c) == want.Text) == (want.Op != readmodel.Ne)
	}
	q := want.Period
	within := !p.From.Before(q.From) && !p.Until.After(q.Until)
	before, beyond := p.From.Before(q.From), p.Until.After(q.Until)
	return map[readmodel.Op]bool{
		readmodel.Eq: within, readmodel.Ne: !within, readmodel.Lt: before, readmodel.Gt: beyond,
		readmodel.Le: before || within, readmodel.Ge: beyond || within,
	}[want.Op]
}

func compareIDs(a, b string) int {
	x, isX := value(a)
	y, isY := value(b)
	switch {
	case isX && isY:
		return cmp.Or(x.Cmp(y), cmp.Compare(len(a), len(b)))
	case isX:
		return -1
	case isY:
		return 1
	default:
		return strings.Compare(a, b)
	}
}

func value(id string) (*big.Int, bool) {
	if strings.Trim(id, "0123456789") != "" {
		return nil, false
	}
	return new(big.Int).SetString(id, 10)
}

func (e entry) compare(o entry, c readmodel.Column) int {
	if p, ok := e.period(c); ok {
		q, _ := o.period(c)
		return p.From.Compare(q.From)
	}
	switch c {
	case readmodel.ColumnID:
		return compareIDs(e.x.ID, o.x.ID)
	case readmodel.ColumnCase:
		return cmp.Compare(e.x.Case, o.x.Case)
	default:
		return strings.Compare(e.text(c), o.text(c))
	}
}

// plain answers a query in the plainest way.
func plain(all []entry, q readmodel.Query) (total int, bodies []string) {
	var found []entry
	for _, e := range all {
		if !slices.ContainsFunc(q.Where, func(c readmodel.Condition) bool {
			return !slices.ContainsFunc(c.Any, func(w readmodel.Comparison) bool { return e.matches(c.Column, w) })
		}) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b entry) int {
		for _, o := range q.Sort {
			if d := a.compare(b, o.Column); d != 0 && o.Descending {
				return -d
			} else if d != 0 {
				return d
			}
		}
		return compareIDs(a.x.ID, b.x.ID)
	})
	for i, e := range found {
		if i >= q.Offset && i < q.Offset+q.Limit {
			bodies = append(bodies, e.body)
		}
	}
	return len(found), bodies
}

var allColumns = []readmodel.Column{
	readmodel.ColumnID, readmodel.ColumnDate, readmodel.ColumnIssued, readmodel.ColumnLastUpdated,
	readmodel.ColumnSubject, readmodel.ColumnName, readmodel.ColumnConclusion, readmodel.ColumnCase,
}

func drawComparison(t *rapid.T, c readmodel.Column, all []entry) readmodel.Comparison {
	e := rapid.SampledFrom(all).Draw(t, "like")
	p, dated := e.period(c)
	if !dated {
		return readmodel.Comparison{Op: rapid.SampledFrom([]readmodel.Op{readmodel.Eq, readmodel.Ne}).Draw(t, "op"), Text: e.text(c)}
	}
	switch rapid.IntRange(0, 3).Draw(t, "form") {
	case 0:
		p, _ = events.ParsePeriod(rapid.SampledFrom(someDates).Draw(t, "date"))
	case 1: // finer than what is stored
		p.From = p.From.Add(time.Duration(rapid.IntRange(-1500, 1500).Draw(t, "from")))
		p.Until = p.From.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "length")))
	case 2:
		p.From = p.From.Truncate(time.Second)
		p.Until = p.From.Add(time.Second)
	}
	op := rapid.SampledFrom([]readmodel.Op{readmodel.Eq, readmodel.Ne, readmodel.Lt, readmodel.Gt, readmodel.Le, readmodel.Ge}).Draw(t, "op")
	return readmodel.Comparison{Op: op, Period: p}
}

func TestSearchFindsWhatAPlainSearchFinds(t *testing.T) {
	list := catalogue()
	m := applied(t, list)
	all := entries(t, list)
	slices.SortFunc(all, func(a, b entry) int { return compareIDs(a.x.ID, b.x.ID) })
	rapid.Check(t, func(t *rapid.T) {
		q := readmodel.Query{Study: "S1", Offset: rapid.IntRange(0, 25).Draw(t, "offset"), Limit: rapid.IntRange(0, 30).Draw(t, "limit")}
		for range rapid.IntRange(0, 3).Draw(t, "conditions") {
			c := readmodel.Condition{Column: rapid.SampledFrom(allColumns).Draw(t, "column")}
			for range rapid.IntRange(0, 3).Draw(t, "any") {
				c.Any = append(c.Any, drawComparison(t, c.Column, all))
			}
			q.Where = append(q.Where, c)
		}
		for range rapid.IntRange(0, 3).Draw(t, "levels") {
			q.Sort = append(q.Sort, readmodel.Order{Column: rapid.SampledFrom(allColumns).Draw(t, "sort"), Descending: rapid.Bool().Draw(t, "descending")})
		}
		page, err := m.Search(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		total, bodies := plain(all, q)
		var got []string
		for _, r := range page.Reports {
			got = append(got, string(r.Body))
		}
		if diff := gocmp.Diff(bodies, got); diff != "" || page.Total != total {
			t.Fatalf("total %d instead of %d: %s", page.Total, total, diff)
		}
	})
}

func TestSearch(t *testing.T) {
	ctx := context.Background()
	m := applied(t, catalogue())

	t.Run("an unknown study has no reports", func(t *testing.T) {
		page, err := m.Search(ctx, readmodel.Query{Study: "S9", Limit: 50})
		if diff := gocmp.Diff(readmodel.Page{}, page); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})

	t.Run("limit 0 returns the total only", func(t *testing.T) {
		page, err := m.Search(ctx, readmodel.Query{Study: "S1"})
		if err != nil || page.Total != len(someIDs) || len(page.Reports) != 0 {
			t.Errorf("%v, %+v", err, page)
		}
	})

	t.Run("a query that makes no sense is refused", func(t *testing.T) {
		many := readmodel.Condition{Column: readmodel.ColumnSubject}
		for i := range 501 {
			many.Any = append(many.Any, readmodel.Comparison{Text: fmt.Sprint(i)})
		}
		for name, q := range map[string]readmodel.Query{
			"an unknown column":         {Where: []readmodel.Condition{{Column: "n_end", Any: []readmodel.Comparison{{}}}}},
			"an unknown order":          {Sort: []readmodel.Order{{Column: "1; drop table reports"}}},
			"a text that is greater":    {Where: []readmodel.Condition{{Column: readmodel.ColumnName, Any: []readmodel.Comparison{{Op: readmodel.Gt}}}}},
			"an unknown comparison":     {Where: []readmodel.Condition{{Column: readmodel.ColumnDate, Any: []readmodel.Comparison{{Op: "sa"}}}}},
			"an unknown comparison too": {Where: []readmodel.Condition{{Column: readmodel.ColumnIssued, Any: []readmodel.Comparison{{Op: "sa"}}}}},
			"a case that is no number":  {Where: []readmodel.Condition{{Column: readmodel.ColumnCase, Any: []readmodel.Comparison{{Text: "x"}}}}},
			"too many values":           {Where: []readmodel.Condition{many}},
			"a negative offset":         {Offset: -1},
			"a negative limit":          {Limit: -1},
		} {
			for _, study := range []string{"S1", "S9"} {
				q.Study = study
				if _, err := m.Search(ctx, q); !errors.Is(err, events.Invalid) {
					t.Errorf("%s of %s: %v", name, study, err)
				}
			}
		}
	})

	t.Run("as many values as are allowed are compiled", func(t *testing.T) {
		many := readmodel.Condition{Column: readmodel.ColumnDate}
		for range 500 {
			many.Any = append(many.Any, readmodel.Comparison{Op: readmodel.Le, Period: events.Period{From: epoch, Until: epoch.Add(1)}})
		}
		if _, err := m.Search(ctx, readmodel.Query{Study: "S1", Where: []readmodel.Condition{many}, Limit: 1}); err != nil {
			t.Error(err)
		}
	})
}

// The longest date of a study is found by its last moment.
func TestADateIsFoundByItsEnd(t *testing.T) {
	var list []events.Event
	studies := map[string]string{} // by their only date
	for i, date := range []string{"2014", "2016", "2014-01", "2014-01-31", "2014-01-31T00:00:00", "2014-01-31T00:00:00Z"} {
		s := &study{number: fmt.Sprintf("S%d", i+1)}
		a := s.assessment(strconv.Itoa(i + 1))
		a.Effective = date
		list = append(list, s.sign(events.ReportSigned, a))
		studies[date] = s.number
	}
	m := open(t, newPath(t), quiet)
	if err := readmodel.Apply(t.Context(), m, list); err != nil {
		t.Fatal(err)
	}
	for date, study := range studies {
		p, err := events.ParsePeriod(date)
		if err != nil {
			t.Fatal(err)
		}
		last := events.Period{From: p.Until.Add(-2 * time.Microsecond), Until: p.Until.Add(-time.Microsecond)}
		for _, op := range []readmodel.Op{readmodel.Gt, readmodel.Ge} {
			page, err := m.Search(t.Context(), readmodel.Query{
				Study: study, Where: []readmodel.Condition{{Column: readmodel.ColumnDate, Any: []readmodel.Comparison{{Op: op, Period: last}}}},
			})
			if err != nil || page.Total != 1 {
				t.Errorf("%s %s: total %d, %v", op, date, page.Total, err)
			}
		}
	}
}

func TestTotalAndPageAgreeWhileReportsComeAndGo(t *testing.T) {
	b := newBroker(t)
	m := open(t, newPath(t), readmodel.Config{MaxBatch: 3, Log: quiet.Log})
	follow(t, m, b.reader)
	s := &study{number: "S1"}
	var list []events.Event
	for i := range 300 {
		e := s.signed(fmt.Sprint(i))
		list = append(list, e)
		if i%3 == 0 {
			list = append(list, s.supersede(e))
		}
	}
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				page, err := m.Search(context.Background(), readmodel.Query{Study: "S1", Limit: 1000})
				if err != nil || page.Total != len(page.Reports) {
					t.Errorf("total %d, %d reports: %v", page.Total, len(page.Reports), err)
					return
				}
				for _, r := range page.Reports {
					if r.Version > page.ChainHead.Number {
						t.Errorf("event %d is on a page that reflects %d", r.Version, page.ChainHead.Number)
					}
				}
			}
		})
	}
	for rest := list; len(rest) > 0; rest = rest[min(10, len(rest)):] {
		b.publish(rest[:min(10, len(rest))]...)
	}
	reaches(t, m, uint64(len(list)))
	close(done)
	readers.Wait()
}

// A page of more bodies than are read together has them all, in its order, and does not
// join them.
func TestALargePageHasAllBodies(t *testing.T) {
	list := large(&study{number: "S1"}, 250)
	m := open(t, newPath(t), quiet)
	if err := readmodel.Apply(t.Context(), m, list); err != nil {
		t.Fatal(err)
	}
	page, err := m.Search(t.Context(), readmodel.Query{
		Study: "S1", Limit: 230, Join: &readmodel.Join{}, Sort: []readmodel.Order{{Column: readmodel.ColumnLastUpdated, Descending: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if page.Total != 250 || len(page.Reports) != 230 {
		t.Fatalf("total %d, %d reports, want 250 and 230", page.Total, len(page.Reports))
	}
	for i, r := range page.Reports {
		want := list[len(list)-1-i]
		if string(r.Body) != string(want.Data) || r.Version != want.Number || !r.LastUpdated.Equal(want.Time) {
			t.Fatalf("report %d is version %d of %s, want %s", i, r.Version, r.ID, want.Subject)
		}
	}
}
