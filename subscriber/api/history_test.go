package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// sign publishes a version of a report, and the event of its lesions before it.
func (s *modelServer) sign(kind events.Kind, r fhir.Report) fhir.Report {
	s.t.Helper()
	if len(r.Assessment.Lesions) > 0 {
		key := events.StudyKey(r.Assessment.Study)
		n := s.heads[key].Number + 1
		lesions := fhir.Report{Assessment: r.Assessment, Version: n, LastUpdated: noon.Add(time.Duration(n) * time.Microsecond)}
		body, err := lesions.EncodeObservations()
		if err != nil {
			s.t.Fatal(err)
		}
		s.publish(events.Event{
			Type: events.DefaultNamespace.Type(events.ObservationsSigned), Subject: events.ReportSubject(r.Assessment.ID, n+1),
			Time: lesions.LastUpdated, Study: key, Data: body,
		})
	}
	return s.report(kind, r)
}

// supersede publishes that a version of a report is no longer available.
func (s *modelServer) supersede(r fhir.Report) {
	s.t.Helper()
	body, err := r.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	key := events.StudyKey(r.Assessment.Study)
	s.publish(events.Event{
		Type: events.DefaultNamespace.Type(events.ReportSuperseded), Subject: events.ReportSubject(r.Assessment.ID, r.Version),
		Time: noon.Add(time.Duration(s.heads[key].Number+1) * time.Microsecond), Study: key, Data: body,
	})
}

// withdraw publishes that a report is withdrawn.
func (s *modelServer) withdraw(r fhir.Report) {
	s.t.Helper()
	r.Withdrawal = &fhir.Withdrawal{
		Signature: events.Signature{User: "jdoe", Name: "Jane Doe, MD", Meaning: "I withdraw this", Time: noon}, Reason: `wrong "subject"`,
	}
	s.report(events.ReportWithdrawn, r)
}

// change publishes a random event and its consequences: a sign-off, an amendment, a
// supersession or a withdrawal. Reports has those that are available.
func (s *modelServer) change(random *rand.Rand, reports map[string]fhir.Report) {
	s.t.Helper()
	id := fmt.Sprint(random.IntN(60) + 1)
	r, available := reports[id]
	switch kind := random.IntN(6); {
	case kind == 0 && available:
		s.supersede(r)
		delete(reports, id)
	case kind == 1 && available:
		s.withdraw(r)
		delete(reports, id)
	case available:
		reports[id] = s.sign(events.ReportAmended, fhir.Report{Assessment: assessment("S1", id, 1, random.IntN(3))})
	default:
		reports[id] = s.sign(events.ReportSigned, fhir.Report{Assessment: assessment("S1", id, 1, random.IntN(3))})
	}
}

// historyBundle is a history Bundle as a client reads it.
type historyBundle struct {
	Type  string
	Total int
	Link  []struct{ Relation, URL string }
	Entry []historyEntry
}

type historyEntry struct {
	Extension []struct {
		URL       string
		Extension []struct{ URL, ValueString, ValueInstant string }
		Value     string `json:"valueString"`
	}
	FullURL  string
	Resource json.RawMessage
	Request  struct{ Method, URL string }
	Response struct{ Status, Etag, LastModified string }
}

func (a answer) history(t testing.TB) (h historyBundle) {
	t.Helper()
	if err := json.Unmarshal(a.body, &h); err != nil || a.status != http.StatusOK || h.Type != "history" {
		t.Fatalf("want a history, got %d %s (%v)", a.status, a.body, err)
	}
	return h
}

// event returns the attributes of an entry's event, after its hash has been computed
// from them as events/testdata specifies.
func (e historyEntry) event(t testing.TB) map[string]string {
	t.Helper()
	if len(e.Extension) == 0 || !strings.HasSuffix(e.Extension[0].URL, "#Event") {
		t.Fatalf("%+v has no #Event", e)
	}
	attributes, text := map[string]string{}, "signoff-event/1\n"
	for _, x := range e.Extension[0].Extension {
		attributes[x.URL] = x.ValueString
		if x.URL != "hash" {
			text += x.URL + "=" + x.ValueString + "\n"
		}
	}
	if sum := sha256.Sum256([]byte(text)); attributes["hash"] != hex.EncodeToString(sum[:]) {
		t.Fatalf("the hash of %v is not that of\n%s", attributes, text)
	}
	return attributes
}

// historyPoller follows a study by its history alone.
type historyPoller struct {
	head    events.ChainHead
	reports map[string]string // bodies of the available reports, by id
}

// apply checks the number and the hashes of an entry and stores its effect.
func (p *historyPoller) apply(t testing.TB, e historyEntry) {
	t.Helper()
	event := e.event(t)
	n, err := events.ParseNumber(event["sequence"])
	if err != nil || n != p.head.Number+1 || n > 1 && event["previoushash"] != p.head.Hash || n == 1 && event["previoushash"] != events.NoHash {
		t.Fatalf("event %s after %+v", event["sequence"], p.head)
	}
	p.head = events.ChainHead{Number: n, Hash: event["hash"]}
	if e.Resource != nil {
		if sum := sha256.Sum256(e.Resource); event["datadigest"] != hex.EncodeToString(sum[:]) {
			t.Fatalf("the bytes of event %d are not those that were signed", n)
		}
	}
	if id, ok := strings.CutPrefix(e.Request.URL, "DiagnosticReport/"); ok {
		delete(p.reports, id)
		if e.Resource != nil {
			p.reports[id] = string(e.Resource)
		}
	}
}

// TestAPollerOfTheHistoryMissesNothing asks for the events after its last number at
// random moments while 500 changes happen. In the end it has what was published. (A test of
// cmd/signoff makes 2,000 changes and compares a poller with a subscriber.)
func TestAPollerOfTheHistoryMissesNothing(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1")
	random := rand.New(rand.NewPCG(7, 8))
	reports := map[string]fhir.Report{}
	poller := historyPoller{reports: map[string]string{}}
	poll := func() (found int) {
		h := s.get(t, fmt.Sprintf("/_history?researchstudy=S1&_sort=_lastUpdated&_sinceNumber=%d&_count=%d", poller.head.Number, random.IntN(120)+1)).history(t)
		for _, e := range h.Entry {
			poller.apply(t, e)
		}
		return len(h.Entry)
	}
	for range 500 {
		s.change(random, reports)
		if random.IntN(20) == 0 {
			poll()
		}
	}
	s.wait()
	for poll() > 0 {
	}
	want := map[string]string{}
	for id, r := range reports {
		body, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		want[id] = string(body)
	}
	if diff := cmp.Diff(want, poller.reports); diff != "" || poller.head != s.heads["S1"] {
		t.Errorf("head %+v instead of %+v; reports (-published +polled):\n%s", poller.head, s.heads["S1"], diff)
	}
}

// Pages of a walk show the study as it was on the first one, while it changes.
func TestPagesHoldStill(t *testing.T) {
	s := serveModel(t, api.Config{Count: 7}, "S1")
	random := rand.New(rand.NewPCG(1, 9))
	reports := map[string]fhir.Report{}
	for range 150 {
		s.change(random, reports)
	}
	s.wait()
	follow := func(t *testing.T, path string) (all []string, total int) {
		for path != "" {
			b := s.get(t, path).bundle(t)
			total = *b.Total
			for _, e := range b.Entry {
				all = append(all, e.FullURL)
			}
			path = ""
			for _, l := range b.Link {
				if l.Relation == "next" {
					path = strings.TrimPrefix(l.URL, publicURL+api.DefaultBasePath)
				}
			}
		}
		return all, total
	}
	for _, query := range []string{"", "&_sort=-_lastUpdated", "&conclusion=No"} {
		t.Run("sorted and filtered by "+query, func(t *testing.T) {
			first := "/DiagnosticReport?researchstudy=S1" + query
			want, total := follow(t, first)
			if len(want) != total {
				t.Errorf("without changes, a walk has %d of %d reports", len(want), total)
			}
			b := s.get(t, first).bundle(t)
			before := maps.Clone(reports)
			got := make([]string, 0, total)
			for next := b; ; {
				for _, e := range next.Entry {
					got = append(got, e.FullURL)
				}
				i := slices.IndexFunc(next.Link, func(l struct{ Relation, URL string }) bool { return l.Relation == "next" })
				if i < 0 {
					break
				}
				for range 3 { // reports come and go on all pages
					s.change(random, reports)
				}
				s.wait()
				next = s.get(t, strings.TrimPrefix(next.Link[i].URL, publicURL+api.DefaultBasePath)).bundle(t)
				if *next.Total != total {
					t.Errorf("total %d, was %d", *next.Total, total)
				}
			}
			place := 0
			for _, url := range got { // the same order; those that changed are missing
				i := slices.Index(want[place:], url)
				if i < 0 {
					t.Fatalf("%s is not one of the walk's reports, or not in its place", url)
				}
				place += i + 1
			}
			unchanged := 0
			for _, url := range want {
				id := url[strings.LastIndex(url, "=")+1:]
				if r, ok := reports[id]; !ok || r.Version != before[id].Version {
					continue
				}
				if unchanged++; !slices.Contains(got, url) {
					t.Errorf("%s is missing, although it did not change", url)
				}
			}
			if unchanged < 10 {
				t.Errorf("only %d reports did not change", unchanged)
			}
		})
	}
	t.Run("position and number", func(t *testing.T) {
		last := s.heads["S1"].Number
		for _, c := range []struct {
			query  string
			status int
		}{
			{fmt.Sprintf("asof=%d", last), 200},
			{fmt.Sprintf("asof=%d", last-1), 200},
			{fmt.Sprintf("asof=%d", last+1), 503},
			{"asof=0", 200},
			{fmt.Sprintf("minNumber=%d", last), 200},
			{fmt.Sprintf("minNumber=%d", last+1), 503},
		} {
			a := s.get(t, "/DiagnosticReport?researchstudy=S1&"+c.query, header("If-None-Match", `W/"no"`))
			if a.status != c.status || c.status == 200 && a.header.Get("Crit-Study-Number") != fmt.Sprint(last) || c.status == 503 && a.header.Get("Retry-After") == "" {
				t.Errorf("%s: %d with %v", c.query, a.status, a.header)
			}
		}
	})
}

func TestAPositionExpiresAnHourAfterTheNextEvent(t *testing.T) {
	later := func() time.Time { return noon.Add(time.Minute) }
	for _, c := range []struct {
		keep   time.Duration
		status int
	}{{0, http.StatusOK}, {time.Minute, http.StatusOK}, {time.Minute - 4*time.Microsecond, http.StatusGone}} {
		s := serveModel(t, api.Config{KeepPositions: c.keep, Clock: later}, "S1")
		for i := range 3 {
			s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", fmt.Sprint(i+1), 1, 0)})
		}
		s.wait()
		if a := s.get(t, "/DiagnosticReport?researchstudy=S1&asof=2"); a.status != c.status {
			t.Errorf("an older one, kept for %v: %d %s", c.keep, a.status, a.body)
		}
		if a := s.get(t, "/DiagnosticReport?researchstudy=S1&asof=3"); a.status != http.StatusOK {
			t.Errorf("the last one: %d %s", a.status, a.body)
		}
		if a := s.get(t, "/_history?researchstudy=S1&asof=1"); a.status != http.StatusOK {
			t.Errorf("history: %d %s", a.status, a.body)
		}
	}
}

func TestHistory(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1", "S2")
	s.withdraw(s.sign(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "7", 1, 1)}))  // 1 to 3
	second := s.sign(events.ReportAmended, fhir.Report{Assessment: assessment("S1", "7", 1, 1)})   // 4 and 5
	s.supersede(s.sign(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "8", 2, 0)})) // 6 and 7
	s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S3", "9", 1, 0)})
	s.wait()
	line := func(e historyEntry) string {
		kind := "-"
		if e.Resource != nil {
			kind = "resource"
		}
		return strings.Join([]string{e.event(t)["sequence"][18:], e.Request.Method, e.Request.URL, e.Response.Status, e.Response.Etag, kind}, " ")
	}
	all := []string{
		`07 DELETE DiagnosticReport/8 204 W/"7" -`,
		`06 PUT DiagnosticReport/8 201 W/"6" -`,
		`05 PUT DiagnosticReport/7 200 W/"5" resource`,
		`04 POST Observation 201 W/"4" resource`,
		`03 DELETE DiagnosticReport/7 204 W/"3" -`,
		`02 PUT DiagnosticReport/7 201 W/"2" -`,
		`01 POST Observation 201 W/"1" -`,
	}
	reports := slices.DeleteFunc(slices.Clone(all), func(line string) bool { return strings.Contains(line, "POST") })
	reversed := func(lines []string) []string { lines = slices.Clone(lines); slices.Reverse(lines); return lines }
	for _, c := range []struct {
		path  string
		want  []string
		total int
	}{
		{"/_history?researchstudy=S1", all, 7},
		{"/_history?researchstudy=S1&_sort=_lastUpdated", reversed(all), 7},
		{"/_history?researchstudy=S1&_sort=-_lastUpdated&_count=2&page=2", all[2:4], 7},
		{"/_history?researchstudy=S1&_sinceNumber=5", all[:2], 2},
		{"/_history?researchstudy=S1&_sinceNumber=7", nil, 0},
		{"/_history?researchstudy=S1&_since=2026-03-01T12:00:00.000006Z", all[:2], 2},
		{"/_history?researchstudy=S1&asof=5&_sinceNumber=2", all[2:5], 3},
		{"/_history?researchstudy=S1&_count=0", nil, 7},
		{"/_history?researchstudy=S2", nil, 0},
		{"/DiagnosticReport/_history?researchstudy=S1", reports, 5},
		{"/DiagnosticReport/_history?researchstudy=S1&_count=2&page=2", reports[2:4], 5},
		{"/DiagnosticReport/_history?researchstudy=S1&_sort=_lastUpdated&_sinceNumber=4&_count=2", []string{all[2], all[1]}, 3},
		{"/DiagnosticReport/8/_history", all[:2], 2},
		{"/DiagnosticReport/7/_history?_sort=_lastUpdated&_count=2", []string{all[5], all[4]}, 3},
	} {
		t.Run(c.path, func(t *testing.T) {
			h := s.get(t, c.path).history(t)
			var got []string
			for _, e := range h.Entry {
				got = append(got, line(e))
			}
			if diff := cmp.Diff(c.want, got); diff != "" || h.Total != c.total {
				t.Errorf("total %d instead of %d (-want +got):\n%s", h.Total, c.total, diff)
			}
		})
	}
	t.Run("a withdrawal has its signature and reason", func(t *testing.T) {
		e := s.get(t, "/_history?researchstudy=S1").history(t).Entry[4]
		if len(e.Extension) != 3 || !strings.HasSuffix(e.Extension[1].URL, "#Withdrawal") || e.Extension[1].Extension[0].ValueString != "jdoe" ||
			!strings.HasSuffix(e.Extension[2].URL, "#WithdrawalReason") || e.Extension[2].Value != `wrong "subject"` {
			t.Errorf("got %+v", e.Extension)
		}
	})
	t.Run("links name the numbers and stay as they are", func(t *testing.T) {
		h := s.get(t, "/_history?researchstudy=S1&_count=3&_sinceNumber=1").history(t)
		var got []string
		for _, l := range h.Link {
			got = append(got, l.Relation+" "+strings.TrimPrefix(l.URL, publicURL+api.DefaultBasePath))
		}
		const first = "/_history?researchstudy=S1&_sinceNumber=1&_count=3&page="
		if diff := cmp.Diff([]string{"self " + first + "1", "first " + first + "1", "last " + first + "2&asof=7", "next " + first + "2&asof=7"}, got); diff != "" {
			t.Error(diff)
		}
		next := strings.TrimPrefix(h.Link[3].URL, publicURL+api.DefaultBasePath)
		before := s.get(t, next).history(t)
		s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "10", 3, 0)})
		s.wait()
		if diff := cmp.Diff(before, s.get(t, next).history(t)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("answers", func(t *testing.T) {
		for path, want := range map[string]int{
			"/_history?researchstudy=S1&_sinceNumber=9": 503, "/_history?researchstudy=S1&asof=9": 503, "/_history?researchstudy=S3": 403,
			"/DiagnosticReport/9/_history": 404, "/DiagnosticReport/none/_history": 404, "/DiagnosticReport/9/_history/1": 404,
			"/DiagnosticReport/7/_history/5": 200, "/DiagnosticReport/7/_history/2": 410, "/DiagnosticReport/7/_history/3": 410,
			"/DiagnosticReport/7/_history/05": 404, "/DiagnosticReport/7/_history/4": 404, "/DiagnosticReport/7/_history/1": 404, "/DiagnosticReport/7/_history/6": 404,
			"/DiagnosticReport/8/_history/6": 410, "/DiagnosticReport/8/_history/7": 410, "/DiagnosticReport/8/_history/0": 404,
		} {
			a := s.get(t, path)
			if a.status != want {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			} else if want == 503 {
				if _, text := a.outcome(t); text != "The study does not have this number yet; ask again later." || a.header.Get("Retry-After") == "" {
					t.Errorf("%s: %s with %v", path, text, a.header)
				}
			}
		}
		body, err := second.Encode()
		if got := s.get(t, "/DiagnosticReport/7/_history/5"); err != nil || string(got.body) != string(body) || got.header.Get("Etag") != `W/"5"` || got.header.Get("Crit-Study-Number") != "8" {
			t.Errorf("the available version: %v %s", got.header, got.body)
		}
	})
	t.Run("an unchanged history is not sent again", func(t *testing.T) {
		const path = "/_history?researchstudy=S1"
		tag := s.get(t, path).header.Get("Etag")
		if a := s.get(t, path, header("If-None-Match", tag)); a.status != http.StatusNotModified || a.header.Get("Crit-Study-Number") != "8" {
			t.Errorf("got %d with %v", a.status, a.header)
		}
		s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "11", 4, 0)})
		s.wait()
		if a := s.get(t, path, header("If-None-Match", tag)); a.status != http.StatusOK {
			t.Errorf("after a change: %d", a.status)
		}
	})
}

// waitingModel is a read model in which a wait for a number is received from waits when it
// begins, and lasts up to a minute, because the machine may be slow.
type waitingModel struct {
	*readmodel.Model
	waits chan struct{}
}

func (m *waitingModel) WaitForChainHead(ctx context.Context, study string, head events.ChainHead) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	select {
	case m.waits <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return m.Model.WaitForChainHead(ctx, study, head)
}

// A request for a number that comes in time waits for it. Four requests of a partner wait
// at most, of studies that are granted to it.
func TestARequestWaitsForANumber(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1")
	other := s.announcePartner("other", "S1")
	m := &waitingModel{Model: s.model, waits: make(chan struct{})}
	waiting := serveReader(t, m, api.Config{})
	waiting.signer, waiting.accessToken = s.signer, s.accessToken
	answers := make(chan answer, 5)
	wait := func(path string, options ...func(*http.Request)) {
		go func() { answers <- waiting.get(t, path+"?researchstudy=S1&minNumber=2", options...) }()
		receive(t, m.waits)
	}
	for _, path := range []string{"/DiagnosticReport", "/Observation", "/_history", "/DiagnosticReport/_history"} {
		wait(path)
	}
	for path, want := range map[string]int{
		"/DiagnosticReport?researchstudy=S1&minNumber=2": 503, "/_history?researchstudy=S1&minNumber=2": 503, // they would be the fifth
		"/DiagnosticReport?researchstudy=S1&minNumber=0": 200,
		"/DiagnosticReport?researchstudy=S2&minNumber=2": 403, "/_history?researchstudy=S2&minNumber=2": 403,
	} {
		if a := waiting.get(t, path); a.status != want || want == 503 && a.header.Get("Retry-After") != "2" {
			t.Errorf("%s, while four requests wait: %d with %v", path, a.status, a.header)
		}
	}
	wait("/DiagnosticReport", other)
	s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "1", 1, 0)})
	s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "2", 1, 0)})
	for range 5 {
		if a := receive(t, answers); a.status != http.StatusOK || a.header.Get("Crit-Study-Number") != "2" {
			t.Errorf("got %d with %v", a.status, a.header)
		}
	}
}

// Every reference of every available report, taken as a relative URL, is answered
// with exactly that Observation.
func TestEachReferenceIsAnsweredWithItsObservation(t *testing.T) {
	const study = "Étude, 1"
	s := serveModel(t, api.Config{}, study)
	lesions := []string{"T01", "T02", "T01,T02", "1-2-T01", `a\b`, "ü & é+/?#%", strings.Repeat("x", 80), "T01 (liver)", "b|c"}
	var signed []fhir.Report
	for i, id := range []string{"2", "10", "1-2", "a.b"} {
		a := assessment(study, id, i+1, 0)
		for _, l := range lesions {
			a.Lesions = append(a.Lesions, events.Lesion{ID: l, Organ: "Liver", Value: "12.50", Unit: events.Unit})
		}
		signed = append(signed, s.sign(events.ReportSigned, fhir.Report{Assessment: a}))
	}
	s.sign(events.ReportAmended, signed[1])
	gone := s.sign(events.ReportSigned, fhir.Report{Assessment: assessment(study, "gone", 9, 2)})
	s.withdraw(gone)
	s.wait()

	type resource struct {
		ID         string
		Identifier []struct{ Value string }
		Result     []struct{ Reference, Display string }
	}
	searched := s.get(t, "/DiagnosticReport?researchstudy="+url.QueryEscape(study)+"&_include=DiagnosticReport:result")
	var set struct {
		Total int
		Entry []struct {
			FullURL  string
			Resource json.RawMessage
			Search   struct{ Mode string }
		}
	}
	if err := json.Unmarshal(searched.body, &set); err != nil {
		t.Fatal(err)
	}
	var references, included []string
	for _, e := range set.Entry {
		var r resource
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		if e.Search.Mode == "include" {
			included = append(included, e.FullURL)
			for _, path := range []string{"/Observation/" + r.ID, "/observation/" + r.ID} {
				if a := s.get(t, path); a.status != http.StatusOK || string(a.body) != string(e.Resource) {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
			continue
		}
		if e.Search.Mode != "match" || len(included) > 0 {
			t.Errorf("%s has the mode %q, after %d included", e.FullURL, e.Search.Mode, len(included))
		}
		for _, x := range r.Result {
			references = append(references, publicURL+api.DefaultBasePath+"/"+x.Reference)
			b := s.get(t, "/"+x.Reference).bundle(t)
			if len(b.Entry) != 1 || *b.Total != 1 {
				t.Fatalf("%s: %d entries", x.Reference, len(b.Entry))
			}
			var o resource
			if err := json.Unmarshal(b.Entry[0].Resource, &o); err != nil || o.Identifier[0].Value != x.Display || b.Entry[0].FullURL != references[len(references)-1] {
				t.Errorf("%s: %s %s", x.Reference, b.Entry[0].FullURL, b.Entry[0].Resource)
			}
		}
	}
	if diff := cmp.Diff(references, included); diff != "" || set.Total != 4 || len(references) != 4*len(lesions) {
		t.Errorf("total %d; included are not the references (-references +included):\n%s", set.Total, diff)
	}
	var all []string
	for page := 1; page < 20; page++ {
		for _, e := range s.get(t, fmt.Sprintf("/Observation?researchstudy=%s&category=imaging&_count=7&page=%d", url.QueryEscape(study), page)).bundle(t).Entry {
			all = append(all, e.FullURL)
		}
	}
	if diff := cmp.Diff(references, all); diff != "" {
		t.Errorf("all Observations (-references +found):\n%s", diff)
	}
	for path, want := range map[string]int{
		"/Observation/9-gone-T01": 410, "/Observation/none": 404, "/Observation/" + fhir.ObservationID("1-2-T01"): 200,
		"/DiagnosticReport?researchstudy=" + url.QueryEscape(study) + "&_include:iterate=DiagnosticReport:result": 400,
		"/Observation?category=imaging": 400, "/Observation?researchstudy=S9": 403,
	} {
		if a := s.get(t, path); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestSearchesForObservations(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1")
	for i, id := range []string{"10", "9", "8"} {
		s.sign(events.ReportSigned, fhir.Report{Assessment: assessment("S1", id, i+1, 2)})
	}
	s.wait()
	const system = "https://fhir.mskcc.org/structure-definitions/%23LesionIdentifier|"
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{"3-8-T01", "3-8-T02", "2-9-T01", "2-9-T02", "1-10-T01", "1-10-T02"}},
		{"&_count=2&page=2", []string{"2-9-T01", "2-9-T02"}},
		{"&_sort=-_lastUpdated&_count=3", []string{"3-8-T01", "3-8-T02", "2-9-T01"}},
		{"&_sort=_id&_count=2", []string{"1-10-T01", "1-10-T02"}},
		{"&_id=1-10-T02", []string{"1-10-T02"}},
		{"&id=1-10-T02,2-9-T01", []string{"2-9-T01", "1-10-T02"}},
		{"&identifier=2-9-T02", []string{"2-9-T02"}},
		{"&identifier=" + system + "2-9-T02", []string{"2-9-T02"}},
		{"&identifier=other|2-9-T02", nil},
		{"&subject=Patient/subject%25202", []string{"2-9-T01", "2-9-T02"}},
		{"&date=2014-02", []string{"1-10-T01", "1-10-T02"}},
		{"&caseid=3", []string{"3-8-T01", "3-8-T02"}},
		{"&category=laboratory", nil},
		{"&category=imaging&status=final&_count=1", []string{"3-8-T01"}},
		{"&status=preliminary", nil},
		{"&_lastUpdated=gt2026-03-01T12:00:00.000003Z", []string{"3-8-T01", "3-8-T02"}},
		{"&_summary=count", nil},
	} {
		t.Run(c.query, func(t *testing.T) {
			for _, a := range []answer{
				s.get(t, "/Observation?researchstudy=S1"+c.query),
				s.get(t, "/Observation/_search", form(formType, "researchstudy=S1"+c.query)),
			} {
				var got []string
				for _, e := range a.bundle(t).Entry {
					got = append(got, e.FullURL[strings.LastIndex(e.FullURL, "=")+1:])
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	a := s.get(t, "/Observation/1-10-T01?_elements=identifier")
	if !strings.Contains(string(a.body), `"SUBSETTED"`) || strings.Contains(string(a.body), `"subject"`) || a.header.Get("Etag") != `W/"1"` {
		t.Errorf("got %v %s", a.header, a.body)
	}
}
