package readmodel_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// typeOf is a kind's type as the tests' publisher writes it.
func typeOf(kind events.Kind) string { return events.DefaultNamespace.Type(kind) }

// answersOutdated wants nothing to be answered from a study, and why not.
func answersOutdated(t *testing.T, m *readmodel.Model, study, report, why string) {
	t.Helper()
	for _, q := range []readmodel.Query{{Study: study}, {Study: study, Limit: 10}, {Study: study, Offset: 100, Limit: 1}} {
		page, err := m.Search(context.Background(), q)
		if !errors.Is(err, events.Outdated) || !strings.Contains(err.Error(), why) || page.Total != 0 || page.Reports != nil {
			t.Errorf("a search of %s: %+v, %v", study, page, err)
		}
	}
	r, err := m.Report(context.Background(), report)
	if !errors.Is(err, events.Outdated) || !strings.Contains(err.Error(), why) || r.Study != study || r.Body != nil {
		t.Errorf("report %s of %s: %+v, %v", report, study, r, err)
	}
}

func TestAStudyWithAnEventThatOnlyANewerVersionKnowsAnswersNothing(t *testing.T) {
	for _, kind := range []events.Kind{"diagnosticreport.retracted.v1", "diagnosticreport.signed.v2", "observations.corrected.v1", "consent.revoked.v1"} {
		t.Run(string(kind), func(t *testing.T) {
			b, path := newBroker(t), newPath(t)
			m := open(t, path, quiet)
			stop := follow(t, m, b.reader)
			a, other := &study{number: "A"}, &study{number: "B"}
			b.publish(a.signed("a1"), other.signed("b1"), a.unknown(kind), a.signed("a2"), other.signed("b2"), a.unknown("diagnosticreport.corrected.v1"))
			reaches(t, m, 6)
			check := func(m *readmodel.Model) {
				t.Helper()
				answersOutdated(t, m, "A", "a1", string(kind))
				answersOutdated(t, m, "A", "a2", string(kind))
				if diff := cmp.Diff([]string{"b1", "b2"}, ids(t, m, "B")); diff != "" {
					t.Errorf("the other study: %s", diff)
				}
				if r, err := m.Report(t.Context(), "b1"); err != nil || !r.Available {
					t.Errorf("the other study: %+v, %v", r, err)
				}
				types, err := m.Outdated(t.Context())
				if diff := cmp.Diff(map[string]string{"A": typeOf(kind)}, types); diff != "" || err != nil {
					t.Errorf("outdated: %s, %v", diff, err)
				}
				if link, err := m.ChainHead(t.Context(), "A"); err != nil || link != a.head {
					t.Errorf("the chain ends with %+v, want %+v; %v", link, a.head, err)
				}
				if err := m.Directory().Current(); err != nil {
					t.Errorf("access: %v", err)
				}
			}
			check(m)
			if s := m.Status(); s.State != readmodel.Green || s.Position.StreamSequence != 6 {
				t.Errorf("the model is %+v", s)
			}
			stop()
			check(open(t, path, quiet)) // as another process does

			rebuilt := newPath(t)
			if err := readmodel.Rebuild(t.Context(), rebuilt, b.reader, quiet, nil); err != nil {
				t.Fatal(err)
			}
			check(open(t, rebuilt, quiet))
		})
	}
}

func TestOptionalEventsChangeNothing(t *testing.T) {
	b := newBroker(t)
	m := open(t, newPath(t), quiet)
	follow(t, m, b.reader)
	a, log, own := &study{number: "A"}, &study{number: events.AccessStudy}, &study{number: events.PartnerStudy("acme")}
	b.publish(
		log.partner(access.Partner{ID: "acme", Studies: []string{"A"}, Enabled: true}), a.signed("a1"),
		a.unknown("readercomment.added.optional.v1"), log.unknown("access.contact.optional.v1"), own.unknown("access.reminded.optional.v3"),
		a.unknown("diagnosticreport.withdrawn.optional.v1"), a.signed("a2"))
	reaches(t, m, 7)
	if diff := cmp.Diff([]string{"a1", "a2"}, ids(t, m, "A")); diff != "" {
		t.Error(diff)
	}
	if types, err := m.Outdated(t.Context()); err != nil || len(types) != 0 {
		t.Errorf("outdated: %v, %v", types, err)
	}
	if err := m.Directory().Current(); err != nil {
		t.Error(err)
	}
	if p, ok := m.Directory().Partner("acme"); !ok || !p.Granted("A") {
		t.Errorf("the partner is %+v", p)
	}
}

func TestAnAccessEventThatOnlyANewerVersionKnowsMakesTheDirectoryOutdated(t *testing.T) {
	acme := access.Partner{ID: "acme", Studies: []string{"A"}, Enabled: true}
	for name, c := range map[string]struct {
		study string
		kind  events.Kind
	}{
		"of another kind":                      {events.AccessStudy, "access.role.v1"},
		"of a later version, about a partner":  {events.AccessStudy, "access.partner.v2"},
		"that is announced to a partner":       {events.PartnerStudy("acme"), "access.paused.v1"},
		"of a later version, told to somebody": {events.PartnerStudy("other"), "access.granted.v2"},
	} {
		t.Run(name, func(t *testing.T) {
			b, path := newBroker(t), newPath(t)
			m := open(t, path, quiet)
			stop := follow(t, m, b.reader)
			a, log := &study{number: "A"}, &study{number: events.AccessStudy}
			b.publish(a.signed("a1"), log.partner(acme))
			reaches(t, m, 2)
			<-m.Changed()
			if err := m.Directory().Current(); err != nil {
				t.Fatal(err)
			}
			if c.study != events.AccessStudy {
				b.publish((&study{number: c.study}).unknown(c.kind))
			} else {
				e := log.unknown(c.kind)
				e.Subject = acme.EventSubject() // which hides no known one
				log.head = events.ChainHead{Number: e.Number - 1, Hash: e.PreviousHash}
				e.Seal(log.head)
				log.head = e.ChainHead()
				b.publish(e)
			}
			reaches(t, m, 3)
			<-m.Changed()
			revoked := acme
			revoked.Studies = nil
			b.publish(log.partner(revoked), a.signed("a2"))
			reaches(t, m, 5)
			stop()
			for what, m := range map[string]*readmodel.Model{"the model": m, "another process": open(t, path, quiet)} {
				if err := m.Directory().Current(); !errors.Is(err, events.Outdated) || !strings.Contains(err.Error(), typeOf(c.kind)) {
					t.Errorf("%s: %v", what, err)
				}
				if p, ok := m.Directory().Partner("acme"); !ok || p.Granted("A") {
					t.Errorf("%s: the partner is %+v", what, p)
				}
				if types, err := m.Outdated(t.Context()); err != nil || len(types) != 0 {
					t.Errorf("%s: outdated studies %v, %v", what, types, err)
				}
			}
			if diff := cmp.Diff([]string{"a1", "a2"}, ids(t, m, "A")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMalformedEventsAreRefusedStill(t *testing.T) {
	b := newBroker(t)
	m := open(t, newPath(t), quiet)
	follow(t, m, b.reader)
	a := &study{number: "A"}
	b.publish(a.signed("a1"))
	bad := a.unknown("diagnosticreport.retracted") // no version
	b.publish(bad)
	until(t, "the model turns red", func() bool { return m.Status().State == readmodel.Red })
	if s := m.Status(); s.Position.StreamSequence != 1 || !strings.Contains(s.Reason, "diagnosticreport.retracted") {
		t.Errorf("%+v", s)
	}
}

func TestUnknownKindsAreNumberedAndChainedLikeAll(t *testing.T) {
	for name, spoil := range map[string]func(a *study) []events.Event{
		"one that was altered": func(a *study) []events.Event {
			e := a.unknown("diagnosticreport.retracted.v1")
			e.Data = []byte("{}")
			return []events.Event{e}
		},
		"one that is missing": func(a *study) []events.Event {
			a.unknown("readercomment.added.optional.v1")
			return []events.Event{a.signed("a2")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			m := open(t, newPath(t), quiet)
			follow(t, m, b.reader)
			a := &study{number: "A"}
			b.publish(a.signed("a1"))
			b.publish(spoil(a)...)
			until(t, "the model turns red", func() bool { return m.Status().State == readmodel.Red })
			if n := m.Position().StreamSequence; n != 1 {
				t.Errorf("the position is %d", n)
			}
		})
	}
}

func TestAModelOfBeforeIsBroughtUpToDate(t *testing.T) {
	b, path := newBroker(t), newPath(t)
	first, err := os.ReadFile("schema/0001_reports.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Migrate(t.Context(), fstest.MapFS{"0001_reports.sql": {Data: first}})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	m := open(t, path, quiet)
	follow(t, m, b.reader)
	a := &study{number: "A"}
	b.publish(a.signed("a1"), a.unknown("diagnosticreport.retracted.v1"))
	reaches(t, m, 2)
	answersOutdated(t, m, "A", "a1", "retracted")
}
