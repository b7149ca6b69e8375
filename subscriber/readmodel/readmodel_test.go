package readmodel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		runChild()
	}
	leaktest.Main(m)
}

// ids returns the ids of all available reports of a study, in default order.
func ids(t testing.TB, m *readmodel.Model, study string) []string {
	t.Helper()
	page, err := m.Search(context.Background(), readmodel.Query{Study: study, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if page.Total != len(page.Reports) {
		t.Errorf("total is %d, there are %d", page.Total, len(page.Reports))
	}
	list := make([]string, 0, len(page.Reports))
	for _, r := range page.Reports {
		list = append(list, r.ID)
	}
	return list
}

func TestApply(t *testing.T) {
	ctx := context.Background()

	t.Run("a report is available from its sign-off until it is superseded or withdrawn", func(t *testing.T) {
		b := newBroker(t)
		m := open(t, newPath(t), quiet)
		follow(t, m, b.reader)
		s := &study{number: "FHIR-T"}
		sequence := uint64(0)
		step := func(e events.Event, want ...string) {
			t.Helper()
			b.publish(e)
			sequence++
			reaches(t, m, sequence)
			if diff := cmp.Diff(want, ids(t, m, "FHIR-T"), cmp.Transformer("", func(l []string) []string { return append([]string{}, l...) })); diff != "" {
				t.Error(diff)
			}
		}
		read := func(id string, version uint64, available bool, body []byte) {
			t.Helper()
			r, err := m.Report(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if r.Version != version || r.Available != available || !bytes.Equal(r.Body, body) || r.Study != "FHIR-T" || r.ID != id {
				t.Errorf("read %s: version %d, available %v, in %s, same bytes %v", r.ID, r.Version, r.Available, r.Study, bytes.Equal(r.Body, body))
			}
		}
		one := s.signed("790")
		step(one, "790")
		read("790", 1, true, one.Data)
		step(s.observations(s.assessment("a")), "790")
		two := s.signed("a")
		step(two, "790", "a")
		amended := s.sign(events.ReportAmended, s.assessment("790"))
		step(amended, "790", "a")
		read("790", 4, true, amended.Data)
		step(s.supersede(amended), "a")
		read("790", 4, false, amended.Data)
		withdrawn := s.sign(events.ReportWithdrawn, s.assessment("a"))
		step(withdrawn)
		read("a", 6, false, withdrawn.Data)
		again := s.sign(events.ReportAmended, s.assessment("a"))
		step(again, "a")
		read("a", 7, true, again.Data)
		if _, err := m.Report(ctx, "b"); !errors.Is(err, events.NotFound) {
			t.Errorf("an unknown report: %v", err)
		}
	})

	t.Run("a page has the chain head that it reflects and the exact bytes", func(t *testing.T) {
		s := &study{number: "Étude 1"}
		list := s.many(3)
		m := applied(t, list)
		page, err := m.Search(ctx, readmodel.Query{Study: events.StudyKey("Étude 1"), Offset: 1, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		want := readmodel.Page{Total: 3, Position: 3, ChainHead: list[2].ChainHead(), Reports: []readmodel.Report{{
			ID: "1001", Study: events.StudyKey("Étude 1"), Version: 2, LastUpdated: list[1].Time, Available: true, Body: list[1].Data}}}
		if diff := cmp.Diff(want, page); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("the directory follows the log and survives the process", func(t *testing.T) {
		b := newBroker(t)
		path := newPath(t)
		m, err := readmodel.Open(ctx, path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		stop := follow(t, m, b.reader)
		log := &study{number: events.AccessStudy}
		p := access.Partner{ID: "acme", Studies: []string{"S1", "S2"}, Enabled: true}
		<-m.Changed() // as it was opened
		b.publish(log.partner(p))
		reaches(t, m, 1)
		<-m.Changed()
		if got, ok := m.Directory().Partner("acme"); !ok || !got.Granted("S2") {
			t.Errorf("after the grant: %+v", got)
		}
		p.Studies = p.Studies[:1]
		b.publish(log.partner(p))
		reaches(t, m, 2)
		<-m.Changed()
		if got, _ := m.Directory().Partner("acme"); got.Granted("S2") || !got.Granted("S1") {
			t.Errorf("after the revocation: %+v", got)
		}
		other := &study{number: "Other"}
		b.publish(other.many(3)...)
		reaches(t, m, 5)
		select {
		case <-m.Changed():
			t.Error("events of a study change the directory")
		default:
		}
		stop()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		again := open(t, path, quiet)
		if got, ok := again.Directory().Partner("acme"); !ok || got.Granted("S2") || !got.Granted("S1") {
			t.Errorf("after opening again: %+v", got)
		}
		if again.Position().StreamSequence != 5 {
			t.Errorf("position is %+v", again.Position())
		}
	})

	t.Run("announcements to partners are applied, and change no answer", func(t *testing.T) {
		b := newBroker(t)
		m := open(t, newPath(t), quiet)
		follow(t, m, b.reader)
		log := &study{number: events.PartnerStudy("acme")}
		g := events.Grant{Partner: "acme", Study: "S1", StudyKey: "S1"}
		b.publish(log.grant(events.AccessGranted, g), log.grant(events.AccessRevoked, g))
		reaches(t, m, 2)
		link, err := m.ChainHead(ctx, events.PartnerStudy("acme"))
		if err != nil || link != log.head {
			t.Errorf("the chain ends with %+v, want %+v; %v", link, log.head, err)
		}
		if got := ids(t, m, events.PartnerStudy("acme")); len(got) != 0 {
			t.Errorf("reports %v", got)
		}
		if _, ok := m.Directory().Partner("acme"); ok {
			t.Error("an announcement made a partner")
		}
	})

	t.Run("one process sees what another applies", func(t *testing.T) {
		b := newBroker(t)
		path := newPath(t)
		watching := open(t, path, quiet)
		follow(t, open(t, path, quiet), b.reader)
		s := &study{number: "S1"}
		b.publish(s.many(5)...)
		reaches(t, watching, 5)
		if n := len(ids(t, watching, "S1")); n != 5 {
			t.Errorf("%d reports are seen", n)
		}
	})

	t.Run("two that follow with one file apply each event once", func(t *testing.T) {
		b := newBroker(t)
		path := newPath(t)
		one, two := open(t, path, readmodel.Config{MaxBatch: 7, Log: quiet.Log}), open(t, path, readmodel.Config{MaxBatch: 11, Log: quiet.Log})
		follow(t, one, b.reader)
		follow(t, two, b.reader)
		s := &study{number: "S1"}
		list := s.many(300)
		for len(list) > 0 {
			n := min(30, len(list))
			b.publish(list[:n]...)
			list = list[n:]
		}
		reaches(t, one, 300)
		reaches(t, two, 300)
		if n := len(ids(t, one, "S1")); n != 300 {
			t.Errorf("%d reports are there", n)
		}
	})
}

func TestStatus(t *testing.T) {
	quick := readmodel.Config{Interval: 50 * time.Millisecond, Log: quiet.Log}
	state := func(m *readmodel.Model, want readmodel.State) func() bool {
		return func() bool { return m.Status().State == want }
	}

	t.Run("waits for the broker, then catches up with the events that were there", func(t *testing.T) {
		b := newBroker(t)
		m := open(t, newPath(t), quick)
		if s := m.Status(); s.State != readmodel.Waiting || s.CaughtUp {
			t.Errorf("before: %+v", s)
		}
		s := &study{number: "S1"}
		b.publish(s.many(10)...)
		follow(t, m, b.reader)
		until(t, "caught up", func() bool { return m.Status().CaughtUp })
		if s := m.Status(); s.State != readmodel.Green || s.Lag != 0 || s.Position.StreamSequence != 10 || s.Reason != "" {
			t.Errorf("after: %+v", s)
		}
	})

	t.Run("is caught up with an empty stream", func(t *testing.T) {
		b := newBroker(t)
		m := open(t, newPath(t), quick)
		follow(t, m, b.reader)
		until(t, "caught up", func() bool { return m.Status().CaughtUp })
	})

	t.Run("is red and stays so where an event does not follow, with all before it applied", func(t *testing.T) {
		b := newBroker(t)
		m := open(t, newPath(t), quiet) // with a short interval a slow machine would be taken for an outage
		follow(t, m, b.reader)
		s := &study{number: "S1"}
		b.publish(s.many(3)...)
		s.signed("missing")
		b.publish(s.signed("after-the-gap"), s.signed("more"))
		until(t, "red", state(m, readmodel.Red))
		for range 300 {
			if s := m.Status(); s.State != readmodel.Red || s.Position.StreamSequence != 3 || !strings.Contains(s.Reason, "those between are missing") {
				t.Fatalf("then: %+v", s)
			}
			time.Sleep(time.Millisecond)
		}
		if diff := cmp.Diff([]string{"1000", "1001", "1002"}, ids(t, m, "S1")); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("is red if a report contradicts its event", func(t *testing.T) {
		other := &study{number: "S2"}
		s := &study{number: "S1"}
		for name, bad := range map[string]events.Event{
			"no report":       s.seal(events.ReportSigned, events.ReportSubject("790", 1), []byte(`{"id":"790"}`)),
			"another id":      (&study{number: "S1"}).seal(events.ReportSigned, events.ReportSubject("791", 1), (&study{number: "S1"}).signed("790").Data),
			"another study":   (&study{number: "S1"}).seal(events.ReportSigned, events.ReportSubject("790", 1), other.signed("790").Data),
			"another version": (&study{number: "S1"}).seal(events.ReportSigned, events.ReportSubject("790", 2), (&study{number: "S1"}).signed("790").Data),
		} {
			t.Run(name, func(t *testing.T) {
				b := newBroker(t)
				m := open(t, newPath(t), quick)
				follow(t, m, b.reader)
				b.publish(bad)
				until(t, "red", state(m, readmodel.Red))
				if n := m.Position().StreamSequence; n != 0 {
					t.Errorf("position is %d", n)
				}
			})
		}
	})

	t.Run("is red on a replaced stream, keeps what it has, and follows again after a rebuild", func(t *testing.T) {
		b := newBroker(t)
		path := newPath(t)
		m := open(t, path, quick)
		follow(t, m, b.reader)
		s := &study{number: "S1"}
		list := s.many(20)
		b.publish(list...)
		reaches(t, m, 20)
		b.replaceStream()
		until(t, "red", state(m, readmodel.Red))
		b.publish(list...)
		b.publish(s.signed("new"))
		if n := len(ids(t, m, "S1")); n != 20 {
			t.Errorf("%d reports are kept", n)
		}
		if err := readmodel.Rebuild(context.Background(), path, b.reader, quiet, nil); err != nil {
			t.Fatal(err)
		}
		until(t, "green", state(m, readmodel.Green))
		b.publish(s.signed("newer"))
		reaches(t, m, 22)
		if n := len(ids(t, m, "S1")); n != 22 {
			t.Errorf("%d reports are there", n)
		}
	})
}

func TestWait(t *testing.T) {
	s := &study{number: "S1"}
	list := s.many(3)
	waits := map[string]func(context.Context, *readmodel.Model) error{
		"for a stream sequence": func(ctx context.Context, m *readmodel.Model) error { return m.WaitFor(ctx, 3) },
		"for a chain head": func(ctx context.Context, m *readmodel.Model) error {
			return m.WaitForChainHead(ctx, events.StudyKey("S1"), s.head)
		},
	}
	for what, wait := range waits {
		for _, other := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied by another process: %t", what, other), func(t *testing.T) {
				b, path := newBroker(t), newPath(t)
				m := open(t, path, quiet)
				running := m
				if other {
					running = open(t, path, quiet)
				}
				b.publish(list[:2]...)
				follow(t, running, b.reader)
				reaches(t, running, 2)
				done := make(chan error, 1)
				go func() { done <- wait(t.Context(), m) }()
				b.publish(list[2])
				if err := <-done; err != nil {
					t.Error(err)
				}
				if head, err := m.ChainHead(t.Context(), events.StudyKey("S1")); err != nil || head != s.head {
					t.Errorf("the chain head is %v, %v", head, err)
				}
			})
		}
		t.Run(what+" ends with its context", func(t *testing.T) {
			m := open(t, newPath(t), quiet)
			ctx, cancel := context.WithCancelCause(context.Background())
			reason := errors.New("enough")
			cancel(reason)
			if err := wait(ctx, m); !errors.Is(err, reason) {
				t.Error(err)
			}
		})
	}
}
