package outbox_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// model says by other means than the outbox what may be signed, what is
// available and what is announced. It keeps the whole history and derives all
// else from it.
type model struct {
	waiting  map[string]pair
	intended map[string]string // subjects of what waits
	place    map[string]int32  // cases of assessments
	subjects map[int32]string  // of cases
	history  []act             // in order
	numbers  int
}

type pair struct{ caseRevision, revision int32 }

// act is a signature or a withdrawal.
type act struct {
	id        string
	pair      pair
	user      string
	withdrawn bool
	number    int // of the event that carries the report
}

// Assessments 1x belong to case 1, 2x to case 2, unless registered by mistake.
// Timepoints run against ids.
func caseOf(id string) int32    { return int32(id[0] - '0') }
func timepoint(id string) int32 { return 9 - int32(id[1]-'0') }
func lesions(id string) bool    { return id[1] == '1' }

func (m *model) signatures(match func(act) bool) []act {
	return slices.DeleteFunc(slices.Clone(m.history), func(a act) bool { return a.withdrawn || !match(a) })
}

func (m *model) last(id string) (act, bool) {
	of := slices.DeleteFunc(slices.Clone(m.history), func(a act) bool { return a.id != id })
	if len(of) == 0 {
		return act{}, false
	}
	return of[len(of)-1], true
}

func (m *model) highestCase(number int32) (revision int32) {
	for _, a := range m.signatures(func(a act) bool { return m.place[a.id] == number }) {
		revision = max(revision, a.pair.caseRevision)
	}
	return revision
}

// available returns the event number of each available report.
func (m *model) available() map[string]int {
	out := make(map[string]int)
	for _, a := range m.history {
		last, _ := m.last(a.id)
		if !last.withdrawn && last.pair.caseRevision == m.highestCase(m.place[a.id]) {
			out[a.id] = last.number
		}
	}
	return out
}

// inForce returns the version of each assessment that counts beside its case's others.
func (m *model) inForce() map[string]string {
	out := make(map[string]string)
	for id, number := range m.place {
		p, waits := m.waiting[id]
		last, signed := m.last(id)
		switch {
		case waits && m.maySign(id, number, p) && m.intended[id] == m.subjects[number]:
			out[id] = fmt.Sprint(review.VersionWaiting, p)
		case signed && !last.withdrawn:
			out[id] = fmt.Sprint(review.VersionSigned, last.pair)
		}
	}
	return out
}

func (m *model) maySign(id string, number int32, next pair) bool {
	for _, a := range m.signatures(func(a act) bool { return a.id == id }) {
		if next.caseRevision < a.pair.caseRevision || next.revision < a.pair.revision || next == a.pair {
			return false
		}
	}
	return next.caseRevision >= m.highestCase(number)
}

// register registers a version and returns the outcome, none where it refuses.
func (m *model) register(id string, number int32, subject string, p pair) (outcome string) {
	signed := m.signatures(func(a act) bool { return a.id == id })
	waits, there := m.waiting[id]
	switch {
	case len(signed) > 0 && m.place[id] != number:
		return ""
	case m.highestCase(number) > 0 && m.subjects[number] != subject:
		return ""
	case slices.ContainsFunc(signed, func(a act) bool { return a.pair == p }):
		return outbox.Unchanged
	case there && waits == p && m.place[id] == number && m.intended[id] == subject:
		m.subjects[number] = subject
		return outbox.Unchanged
	case !m.maySign(id, number, p):
		return ""
	}
	m.waiting[id], m.intended[id], m.place[id], m.subjects[number] = p, subject, number, subject
	return outbox.Taken
}

// sign signs ids of one case and returns the events, or refuses.
func (m *model) sign(user string, ids []string) (announced []string, ok bool) {
	var fresh []string
	for _, id := range ids {
		if _, waits := m.waiting[id]; waits {
			fresh = append(fresh, id)
			continue
		}
		before := m.signatures(func(a act) bool { return a.id == id })
		if before[len(before)-1].user != user {
			return nil, false
		}
	}
	for _, id := range fresh {
		number := m.place[id]
		if !m.maySign(id, number, m.waiting[id]) || m.intended[id] != m.subjects[number] || m.waiting[id].caseRevision != m.waiting[fresh[0]].caseRevision {
			return nil, false
		}
	}
	before := m.available()
	slices.SortFunc(fresh, func(a, b string) int { return cmp.Or(cmp.Compare(timepoint(a), timepoint(b)), cmp.Compare(a, b)) })
	numbers := m.numbers
	var reports []string
	var acts []act
	// What ends is known only once the history has the new signatures, but
	// is announced, and numbered, before them.
	for _, id := range fresh {
		acts = append(acts, act{id: id, pair: m.waiting[id], user: user})
	}
	m.history = append(m.history, acts...)
	after := m.available()
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[id]; !still {
			numbers++
			announced = append(announced, fmt.Sprintf("superseded %s/%d", id, before[id]))
		}
	}
	for i := range acts {
		a := &m.history[len(m.history)-len(acts)+i]
		if lesions(a.id) {
			numbers++
			reports = append(reports, fmt.Sprintf("observations %s/%d", a.id, numbers+1))
		}
		numbers++
		a.number = numbers
		word := "signed"
		if len(m.signatures(func(b act) bool { return b.id == a.id })) > 1 {
			word = "amended"
		}
		reports = append(reports, fmt.Sprintf("%s %s/%d", word, a.id, numbers))
		delete(m.waiting, a.id)
	}
	m.numbers = numbers
	return append(announced, reports...), true
}

// withdraw withdraws what was signed last and returns the event, or refuses.
func (m *model) withdraw(user, id string) (announced []string, ok bool) {
	last, found := m.last(id)
	if !found {
		return nil, false
	}
	if last.withdrawn {
		return nil, last.user == user
	}
	m.numbers++
	m.history = append(m.history, act{id: id, pair: last.pair, user: user, withdrawn: true, number: m.numbers})
	return []string{fmt.Sprintf("withdrawn %s/%d", id, m.numbers)}, true
}

func TestAvailabilityFollowsTheModel(t *testing.T) {
	users := []string{"dr.a", "dr.b"}
	rapid.Check(t, func(rt *rapid.T) {
		d := newOutbox(t, users...)
		seen := len(all(t, d.Outbox))
		m := &model{waiting: map[string]pair{}, intended: map[string]string{}, place: map[string]int32{}, subjects: map[int32]string{}}
		ids := rapid.SampledFrom([]string{"11", "12", "13", "21", "22"})
		user := rapid.SampledFrom(users)
		small := rapid.Int32Range(1, 3)
		var announced []string
		accepted := true
		var err error
		rt.Repeat(map[string]func(*rapid.T){
			"register": func(rt *rapid.T) {
				id, p := ids.Draw(rt, "id"), pair{small.Draw(rt, "case revision"), small.Draw(rt, "revision")}
				number := rapid.SampledFrom([]int32{caseOf(id), caseOf(id), caseOf(id), 3 - caseOf(id)}).Draw(rt, "case")
				a := assessment(id, number, p.caseRevision, p.revision)
				a.Subject = rapid.SampledFrom([]string{a.Subject, a.Subject, a.Subject, "somebody else"}).Draw(rt, "subject")
				a.Timepoint, a.Name = timepoint(id), events.FollowUp(int(timepoint(id)))
				if lesions(id) {
					a = withLesions(a, "T01")
				}
				result := d.submit(a)[0]
				want := m.register(id, number, a.Subject, p)
				if (result.Err == nil) != (want != "") || result.Outcome != want {
					rt.Fatalf("registered as %q, %v instead of %q", result.Outcome, result.Err, want)
				}
				announced, accepted, err = nil, true, nil
			},
			"sign": func(rt *rapid.T) {
				chosen := rapid.SliceOfNDistinct(ids, 1, 3, rapid.ID[string]).Draw(rt, "ids")
				number := m.place[chosen[0]]
				chosen = slices.DeleteFunc(chosen, func(id string) bool { return m.place[id] == 0 || m.place[id] != number })
				if len(chosen) == 0 {
					rt.Skip("nothing registered")
				}
				u := user.Draw(rt, "user")
				announced, accepted = m.sign(u, slices.Clone(chosen))
				_, err = d.signAs(u, chosen...)
			},
			"withdraw": func(rt *rapid.T) {
				id, u := ids.Draw(rt, "id"), user.Draw(rt, "user")
				announced, accepted = m.withdraw(u, id)
				_, err = d.withdrawAs(u, id, "reason")
				if m.place[id] == 0 && errors.Is(err, events.NotFound) {
					err = events.Conflict
				}
			},
			"": func(rt *rapid.T) {
				if accepted != (err == nil) || err != nil && !errors.Is(err, events.Conflict) {
					rt.Fatalf("accepted should be %v, got %v", accepted, err)
				}
				log := all(t, d.Outbox)
				var got []string
				for _, e := range log[seen:] {
					got = append(got, short(e))
				}
				if diff := gocmp.Diff(announced, got); diff != "" {
					rt.Fatalf("events (-want +got):\n%s", diff)
				}
				seen = len(log)
				follow(t, log)
				if diff := gocmp.Diff(m.available(), fold(log)); diff != "" {
					rt.Fatalf("available to whoever folds the events (-want +got):\n%s", diff)
				}
				s := must(d.Status(t.Context()))(t)
				if s.Available != len(m.available()) || s.Waiting != len(m.waiting) {
					rt.Fatalf("status says %d available, %d waiting; should be %d, %d", s.Available, s.Waiting, len(m.available()), len(m.waiting))
				}
				inForce := make(map[string]string)
				for _, v := range must(d.Reviews().Check(t.Context(), review.WaitingFilter{}))(t) {
					inForce[v.Assessment.ID] = fmt.Sprint(v.State, pair{v.Assessment.Case.Revision, v.Assessment.Revision})
				}
				if diff := gocmp.Diff(m.inForce(), inForce); diff != "" {
					rt.Fatalf("in force (-want +got):\n%s", diff)
				}
				announced, accepted, err = nil, true, nil
			},
		})
	})
}

// fold returns what a reader who knows only the events holds available.
func fold(log []events.Event) map[string]int {
	out := make(map[string]int)
	for _, e := range log {
		id, version, isReport := e.ReportID()
		switch {
		case !isReport || e.Kind() == events.ObservationsSigned:
		case e.Kind().Publishes():
			out[id] = int(version)
			if at := strconv.Itoa(out[id]); !strings.Contains(string(e.Data), `"versionId":"`+at+`"`) {
				panic("a report does not bear the number of its event")
			}
		default:
			delete(out, id)
		}
	}
	return out
}
