package readmodel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// changing makes n events in which reports with and without lesions come, change and
// end.
func changing(n int) []events.Event {
	random := rand.New(rand.NewPCG(3, 4))
	s := &study{number: "S1"}
	last := map[string]events.Event{} // of the available reports
	published := map[string]bool{}
	var list []events.Event
	for len(list) < n {
		id := someIDs[random.IntN(len(someIDs))]
		a := s.assessment(id)
		a.Effective = someDates[random.IntN(len(someDates))]
		a.Subject = someSubjects[random.IntN(len(someSubjects))]
		a.Case.ID = int32(random.IntN(3) + 1)
		a.Conclusion = events.Conclusions[random.IntN(4)]
		a.Lesions = nil
		for l := range random.IntN(4) {
			a.Lesions = append(a.Lesions, events.Lesion{ID: []string{"T1", "T2, T 3", "ü/4"}[l]})
		}
		before, available := last[id]
		switch kind := random.IntN(6); {
		case kind == 0 && available:
			list = append(list, s.supersede(before))
			delete(last, id)
		case kind == 1 && available:
			list = append(list, s.sign(events.ReportWithdrawn, a))
			delete(last, id)
		case kind == 2:
			list = append(list, s.unknown("basic.noted.optional.v1"))
		default:
			if len(a.Lesions) > 0 {
				list = append(list, s.observations(a))
			}
			kind := events.ReportSigned
			if published[id] {
				kind = events.ReportAmended
			}
			published[id] = true
			last[id] = s.sign(kind, a)
			list = append(list, last[id])
		}
	}
	return list
}

// version is a version of a report as the plain model has it.
type version struct {
	entry
	n, end  uint64 // end 0: available
	lesions []entry
}

// versionsOf returns all versions of reports in the events of a study.
func versionsOf(t interface{ Fatal(args ...any) }, list []events.Event) []version {
	var all []version
	var lesions []entry
	for _, e := range list {
		id, _, about := e.ReportID()
		if e.Kind() == events.ObservationsSigned {
			found, err := fhir.ParseObservations(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			lesions = nil
			for _, x := range found {
				lesions = append(lesions, entry{
					x: fhir.Index{ID: x.ID, Name: x.Identifier, LastUpdated: x.LastUpdated}, body: string(e.Data[x.Start : x.Start+x.Length]),
				})
			}
			continue
		}
		if !about {
			continue
		}
		for i := range all {
			if all[i].x.ID == id && all[i].end == 0 {
				all[i].end = e.Number
			}
		}
		if e.Kind().Publishes() {
			x, err := fhir.ParseIndex(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			p, err := events.ParsePeriod(x.Effective)
			if err != nil {
				t.Fatal(err)
			}
			for i := range lesions {
				l := &lesions[i]
				l.date, l.x.Subject, l.x.Case = p, x.Subject, x.Case
			}
			all = append(all, version{entry: entry{x, p, string(e.Data)}, n: e.Number, lesions: lesions})
			lesions = nil
		}
	}
	return all
}

// plainPage answers a query at a number in the plainest way, from all events so far.
func plainPage(t *rapid.T, list []events.Event, q readmodel.Query) (total int, reports, observations []string) {
	position := uint64(len(list))
	if q.AsOf != nil {
		position = *q.AsOf
	}
	ended := map[string]bool{} // by body
	lesionsOf := map[string][]entry{}
	var then []entry
	versions := versionsOf(t, list)
	slices.SortFunc(versions, func(a, b version) int { return compareIDs(a.x.ID, b.x.ID) })
	for _, v := range versions {
		if v.n > position || v.end != 0 && v.end <= position {
			continue
		}
		ended[v.body] = v.end != 0
		lesionsOf[v.body] = v.lesions
		if q.Resource == readmodel.Reports {
			then = append(then, v.entry)
			continue
		}
		for _, l := range v.lesions {
			ended[l.body] = v.end != 0
			then = append(then, l)
		}
	}
	if q.Resource == readmodel.Observations {
		total, observations = plainObservations(then, q)
		return total, nil, slices.DeleteFunc(observations, func(body string) bool { return ended[body] })
	}
	total, reports = plain(then, q)
	reports = slices.DeleteFunc(reports, func(body string) bool { return ended[body] })
	if q.Include {
		for _, body := range reports {
			for _, l := range lesionsOf[body] {
				observations = append(observations, l.body)
			}
		}
	}
	return total, reports, observations
}

// plainObservations is like plain, for Observations. All has them in the default order.
func plainObservations(all []entry, q readmodel.Query) (total int, bodies []string) {
	slices.SortStableFunc(all, func(a, b entry) int {
		for _, o := range q.Sort {
			d := a.compare(b, o.Column)
			if o.Column == readmodel.ColumnID {
				d = strings.Compare(a.x.ID, b.x.ID)
			}
			if d != 0 && o.Descending {
				return -d
			} else if d != 0 {
				return d
			}
		}
		return 0
	})
	for _, e := range all {
		if slices.ContainsFunc(q.Where, func(c readmodel.Condition) bool {
			return !slices.ContainsFunc(c.Any, func(w readmodel.Comparison) bool {
				if c.Column == readmodel.ColumnIdentifier {
					return e.x.Name == w.Text
				}
				if c.Column == readmodel.ColumnID {
					return e.x.ID == w.Text || e.x.Name == w.Text
				}
				return e.matches(c.Column, w)
			})
		}) {
			continue
		}
		if total++; total > q.Offset && total <= q.Offset+q.Limit {
			bodies = append(bodies, e.body)
		}
	}
	return total, bodies
}

// TestEveryAnswerIsAFunctionOfThePositionAndTheQuery compares searches, with and
// without asof and _include, and history with a plain model, while writes go on. The
// number of an answer's chain head is what the plain model must know.
func TestEveryAnswerIsAFunctionOfThePositionAndTheQuery(t *testing.T) {
	list := changing(900)
	b := newBroker(t)
	var models []*readmodel.Model // the second one finds pages by steps
	for range 2 {
		models = append(models, open(t, newPath(t), quiet))
	}
	readmodel.UseSteps(models[1])
	b.publish(list[:100]...)
	for _, m := range models {
		follow(t, m, b.reader)
		reaches(t, m, 100)
	}
	more := make(chan struct{}) // for each check, more is written while it runs
	published := make(chan struct{})
	var written atomic.Uint64
	written.Store(100)
	go func() {
		defer close(published)
		for rest := list[100:]; len(rest) > 0; rest = rest[min(8, len(rest)):] {
			if _, ok := <-more; !ok {
				return
			}
			b.publish(rest[:min(8, len(rest))]...)
			written.Add(uint64(min(8, len(rest))))
		}
	}()
	defer func() { close(more); <-published }()
	samples := entries(t, slices.DeleteFunc(slices.Clone(list), func(e events.Event) bool { return !e.Kind().Publishes() }))
	slices.SortFunc(samples, func(a, b entry) int { return compareIDs(a.x.ID, b.x.ID) })
	heads := map[uint64]bool{} // that answers reflected
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		select {
		case more <- struct{}{}:
		default: // the writer is late, or has written all
		}
		if checks++; checks%10 == 0 { // however slow the writer is, the answers must reflect several states
			select {
			case more <- struct{}{}: // the writer has written all that it was asked for before
			case <-published:
			}
			for _, m := range models {
				reaches(t, m, written.Load())
			}
		}
		m := rapid.SampledFrom(models).Draw(rt, "model")
		if rapid.Bool().Draw(rt, "history") {
			heads[checkHistory(rt, m, list)] = true
		} else {
			heads[checkSearch(rt, m, list, samples)] = true
		}
	})
	if len(heads) < 5 {
		t.Errorf("the answers reflected only %d states of the study", len(heads))
	}
}

// joined returns the bodies of reports as checkSearch has them joined, if there are any.
func joined(t *rapid.T, reports []string) []string {
	if len(reports) == 0 {
		return nil
	}
	var parts []string
	for _, body := range reports {
		x, err := fhir.ParseIndex([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, "<"+x.ID+">"+body)
	}
	return []string{strings.Join(parts, "; ") + "."}
}

func drawPosition(t *rapid.T, m *readmodel.Model) *uint64 {
	if rapid.Bool().Draw(t, "last") {
		return nil
	}
	head, err := m.ChainHead(context.Background(), "S1")
	if err != nil {
		t.Fatal(err)
	}
	n := min(rapid.Uint64Range(0, 900).Draw(t, "asof"), head.Number)
	return &n
}

// checkSearch compares a search, and returns the number of the chain head that its answer
// reflects.
func checkSearch(t *rapid.T, m *readmodel.Model, list []events.Event, samples []entry) uint64 {
	q := readmodel.Query{
		Study: "S1", AsOf: drawPosition(t, m), Offset: rapid.IntRange(0, 25).Draw(t, "offset"), Limit: rapid.IntRange(0, 30).Draw(t, "limit"),
		Include: rapid.Bool().Draw(t, "include"),
	}
	columns, sorts := allColumns, allColumns
	if rapid.Bool().Draw(t, "observations") {
		q.Resource, q.Include = readmodel.Observations, false
		columns = []readmodel.Column{readmodel.ColumnDate, readmodel.ColumnLastUpdated, readmodel.ColumnSubject, readmodel.ColumnCase}
		sorts = append([]readmodel.Column{readmodel.ColumnID}, columns...)
	}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		c := readmodel.Condition{Column: rapid.SampledFrom(columns).Draw(t, "column")}
		for range rapid.IntRange(0, 2).Draw(t, "any") {
			c.Any = append(c.Any, drawComparison(t, c.Column, samples))
		}
		q.Where = append(q.Where, c)
	}
	if q.Resource == readmodel.Observations && rapid.Bool().Draw(t, "by id") {
		e := rapid.SampledFrom(samples).Draw(t, "of")
		c := readmodel.Condition{Column: rapid.SampledFrom([]readmodel.Column{readmodel.ColumnID, readmodel.ColumnIdentifier}).Draw(t, "key")}
		for _, l := range []string{"T1", "T2, T 3", "ü/4"} {
			identifier := fmt.Sprintf("%d-%s-%s", e.x.Case, e.x.ID, l)
			c.Any = append(c.Any, readmodel.Comparison{Text: identifier}, readmodel.Comparison{Text: fhir.ObservationID(identifier)})
		}
		q.Where = append(q.Where, c)
	}
	for range rapid.IntRange(0, 2).Draw(t, "levels") {
		q.Sort = append(q.Sort, readmodel.Order{Column: rapid.SampledFrom(sorts).Draw(t, "sort"), Descending: rapid.Bool().Draw(t, "descending")})
	}
	if rapid.Bool().Draw(t, "joined") {
		q.Join = &readmodel.Join{Before: "<", Between: ">", Separator: "; ", End: "."}
	}
	page, err := m.Search(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	total, reports, observations := plainPage(t, list[:page.ChainHead.Number], q)
	if q.Join != nil && q.Resource == readmodel.Reports && !q.Include {
		reports = joined(t, reports)
	}
	var got, included []string
	for _, r := range page.Reports {
		got = append(got, string(r.Body))
	}
	if page.Joined != nil {
		got = append(got, string(page.Joined))
	}
	for _, o := range page.Observations {
		included = append(included, string(o.Body))
	}
	if diff := gocmp.Diff([][]string{reports, observations}, [][]string{got, included}, gocmp.Comparer(func(a, b []string) bool { return slices.Equal(a, b) })); diff != "" || page.Total != total {
		t.Fatalf("%+v at %d: total %d instead of %d: %s", q, page.ChainHead.Number, page.Total, total, diff)
	}
	return page.ChainHead.Number
}

// checkHistory is like checkSearch, for history.
func checkHistory(t *rapid.T, m *readmodel.Model, list []events.Event) uint64 {
	q := readmodel.HistoryQuery{
		Study: "S1", AsOf: drawPosition(t, m), Ascending: rapid.Bool().Draw(t, "ascending"),
		Offset: rapid.IntRange(0, 40).Draw(t, "offset"), Limit: rapid.IntRange(0, 40).Draw(t, "limit"),
		SinceNumber: rapid.Uint64Range(0, 100).Draw(t, "since"),
	}
	switch rapid.IntRange(0, 3).Draw(t, "of") {
	case 0:
		q.ReportsOnly = true
	case 1:
		q.Report = rapid.SampledFrom(someIDs).Draw(t, "id")
	case 2:
		q.Since = list[rapid.IntRange(0, len(list)-1).Draw(t, "instant")].Time.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "off")))
	}
	h, err := m.History(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	list = list[:h.ChainHead.Number]
	available := map[uint64]bool{} // by number of the event that carries the bytes
	for _, v := range versionsOf(t, list) {
		available[v.n] = v.end == 0
	}
	var want []string
	for i, e := range list {
		id, n, ok := e.ReportID()
		about := ok && e.Kind() != events.ObservationsSigned
		switch {
		case e.Number <= q.SinceNumber, q.AsOf != nil && e.Number > *q.AsOf, !q.Since.IsZero() && e.Time.Before(q.Since),
			q.ReportsOnly && !about, q.Report != "" && (!about || id != q.Report):
			continue
		}
		body := ""
		comes := n > h.ChainHead.Number // the report, with the next event
		if e.Kind() != events.ReportSuperseded && e.Kind() != events.ReportWithdrawn && (available[n] || comes) {
			body = string(list[i].Data)
		}
		want = append(want, describe(readmodel.Entry{Event: e, DataDigest: e.DataDigest(), Available: body != ""}, body))
	}
	if !q.Ascending {
		slices.Reverse(want)
	}
	if h.Total != len(want) {
		t.Fatalf("%+v: total %d, want %d", q, h.Total, len(want))
	}
	want = want[min(q.Offset, len(want)):]
	want = want[:min(q.Limit, len(want))]
	var got []string
	for _, e := range h.Entries {
		got = append(got, describe(e, string(e.Data)))
		if (e.Withdrawn != nil) != (e.Kind() == events.ReportWithdrawn) {
			t.Fatalf("event %d has the withdrawn report %s", e.Number, e.Withdrawn)
		}
	}
	if !slices.Equal(want, got) {
		t.Fatalf("%+v: %s", q, gocmp.Diff(want, got))
	}
	return h.ChainHead.Number
}

// describe returns all that an entry has, in one line.
func describe(e readmodel.Entry, body string) string {
	return fmt.Sprint(e.Covered(e.DataDigest), e.Hash, e.Available, body)
}

// A poller may ask when the Observations of a report are applied and the report is not. It
// does not ask for them again.
func TestHistoryHasTheObservationsOfAReportThatComesNext(t *testing.T) {
	s := &study{number: "S1"}
	a := s.assessment("790")
	observations := s.observations(a)
	b := newBroker(t)
	m := open(t, newPath(t), quiet)
	stop := follow(t, m, b.reader)
	defer stop()
	for _, c := range []struct {
		event events.Event
		want  bool
	}{
		{observations, true},
		{s.sign(events.ReportSigned, a), true},
		{s.sign(events.ReportWithdrawn, a), false},
	} {
		b.publish(c.event)
		reaches(t, m, c.event.Number)
		h, err := m.History(t.Context(), readmodel.HistoryQuery{Study: "S1", Ascending: true, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.want {
			want = string(observations.Data)
		}
		if got := h.Entries[0]; got.Available != c.want || string(got.Data) != want {
			t.Errorf("after event %d the Observations are available: %t, with %d bytes", c.event.Number, got.Available, len(got.Data))
		}
	}
}

func TestHistory(t *testing.T) {
	ctx := context.Background()
	list := changing(60)
	m := applied(t, list)

	t.Run("does not have a later number yet", func(t *testing.T) {
		beyond := uint64(len(list) + 1)
		for _, q := range []readmodel.HistoryQuery{{SinceNumber: beyond}, {AsOf: &beyond}} {
			q.Study = "S1"
			if _, err := m.History(ctx, q); !errors.Is(err, events.NotYet) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if _, err := m.Search(ctx, readmodel.Query{Study: "S1", AsOf: &beyond}); !errors.Is(err, events.NotYet) {
			t.Error(err)
		}
	})

	t.Run("an older position expires, the last one does not", func(t *testing.T) {
		last := list[len(list)-1]
		for _, c := range []struct {
			n      uint64
			oldest time.Time
			want   events.Code
		}{
			{last.Number, last.Time.Add(time.Hour), ""},
			{last.Number - 1, last.Time, ""},
			{last.Number - 1, last.Time.Add(time.Microsecond), events.Gone},
			{0, list[0].Time, ""},
			{0, last.Time, events.Gone},
			{last.Number + 1, last.Time, events.NotYet},
		} {
			if err := m.CheckPosition(ctx, "S1", c.n, c.oldest); events.CodeOf(err) != c.want {
				t.Errorf("%d before %v: %v", c.n, c.oldest, err)
			}
		}
	})

	t.Run("content of another derivation has none", func(t *testing.T) {
		b := newBroker(t)
		b.publish(list...)
		path := filled(t, b.reader)
		alter(t, path, "update derivation set number = 1")
		m := open(t, path, quiet)
		if _, err := m.History(ctx, readmodel.HistoryQuery{Study: "S1"}); !errors.Is(err, events.Unavailable) {
			t.Error(err)
		}
		if _, err := m.Search(ctx, readmodel.Query{Study: "S1", Resource: readmodel.Observations}); !errors.Is(err, events.Unavailable) {
			t.Error(err)
		}
		if page, err := m.Search(ctx, readmodel.Query{Study: "S1", Limit: 1}); err != nil || len(page.Reports) != 1 {
			t.Errorf("%+v, %v", page, err)
		}
	})
}

// A page deep in the default order is the same whether it is read from the index or
// from the list of all places.
func TestDeepPages(t *testing.T) {
	const reports = 2500
	list := (&study{number: "S1"}).many(reports)
	m := applied(t, list)
	for _, offset := range []int{0, 499, 500, 501, 1200, 1990, 2000, 2450, 2499, 2500} {
		page, err := m.Search(context.Background(), readmodel.Query{Study: "S1", Offset: offset, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, r := range page.Reports {
			got = append(got, r.ID)
		}
		for i := offset; i < min(offset+50, reports); i++ {
			want = append(want, fmt.Sprint(1000+i))
		}
		if !slices.Equal(got, want) || page.Total != reports {
			t.Errorf("from %d: %s", offset, strings.Join(got, " "))
		}
	}
}

// The total of all that has changed since a time is what a plain search finds, for each time.
func TestTotalOfChangesSince(t *testing.T) {
	list := changing(200)
	var models []*readmodel.Model // the second one counts differently when many reports have ended
	for range 2 {
		m := open(t, newPath(t), quiet)
		if err := readmodel.Apply(t.Context(), m, list); err != nil {
			t.Fatal(err)
		}
		models = append(models, m)
	}
	readmodel.UseSteps(models[1])
	versions := slices.DeleteFunc(versionsOf(t, list), func(v version) bool { return v.end != 0 })
	for i := range len(list) + 1 {
		at := list[0].Time.Add(time.Duration(i-1) * list[1].Time.Sub(list[0].Time))
		for op, from := range map[readmodel.Op]time.Time{readmodel.Ge: at, readmodel.Gt: at.Add(time.Microsecond)} {
			want := 0
			for _, v := range versions {
				if !v.x.LastUpdated.Before(from) {
					want++
				}
			}
			c := readmodel.Comparison{Op: op, Period: events.Period{From: at, Until: at.Add(time.Microsecond)}}
			q := readmodel.Query{Study: "S1", Where: []readmodel.Condition{{Column: readmodel.ColumnLastUpdated, Any: []readmodel.Comparison{c}}}}
			for _, m := range models {
				if page, err := m.Search(t.Context(), q); err != nil || page.Total != want {
					t.Fatalf("%s %s: total %d, %v, want %d", op, at, page.Total, err, want)
				}
			}
		}
	}
}
