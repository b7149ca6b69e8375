package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// pausedModel is a read model in which searches and histories of the study S1 do not go on
// before proceed is closed.
type pausedModel struct {
	*readmodel.Model
	entered chan struct{} // receives each such search
	waits   chan struct{} // receives each wait for a number
	proceed chan struct{}
	ended   <-chan struct{} // closed when the test ends
}

func (m *pausedModel) pause(ctx context.Context, study string) error {
	if study != "S1" {
		return nil
	}
	select {
	case m.entered <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ended:
		return context.Canceled
	}
	select {
	case <-m.proceed:
		return nil
	case <-ctx.Done():
	case <-m.ended:
	}
	return context.Canceled
}

func (m *pausedModel) Search(ctx context.Context, q readmodel.Query) (readmodel.Page, error) {
	if err := m.pause(ctx, q.Study); err != nil {
		return readmodel.Page{}, err
	}
	return m.Model.Search(ctx, q)
}

func (m *pausedModel) History(ctx context.Context, q readmodel.HistoryQuery) (readmodel.History, error) {
	if err := m.pause(ctx, q.Study); err != nil {
		return readmodel.History{}, err
	}
	return m.Model.History(ctx, q)
}

func (m *pausedModel) WaitForChainHead(ctx context.Context, study string, head events.ChainHead) error {
	select {
	case m.waits <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return m.Model.WaitForChainHead(ctx, study, head)
}

func TestSearchesOfAPartnerAreLimitedAndThoseOfOthersAreNot(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1", "S2")
	other := s.announcePartner("other", "S2")
	for _, study := range []string{"S1", "S2"} {
		s.report(events.ReportSigned, fhir.Report{Assessment: assessment(study, study, 1, 0)})
	}
	s.wait()
	m := &pausedModel{Model: s.model, entered: make(chan struct{}), waits: make(chan struct{}), proceed: make(chan struct{})}
	paused := serveReader(t, m, api.Config{Searches: 2, SearchesWait: 1, SearchWait: time.Minute, SearchTimeout: time.Minute})
	paused.signer, paused.accessToken = s.signer, s.accessToken
	ctx, cancel := context.WithCancel(context.Background())
	m.ended = ctx.Done()
	t.Cleanup(cancel) // before the server waits for its requests

	const cached = "/DiagnosticReport?researchstudy=S2"
	tag := paused.get(t, cached).header.Get("Etag")

	answers, waited := make(chan answer, 4), make(chan answer, 1)
	search := func(path string) { answers <- paused.get(t, path) }
	go search("/DiagnosticReport?researchstudy=S1")
	receive(t, m.entered)
	go search("/_history?researchstudy=S1")
	receive(t, m.entered)
	go search("/DiagnosticReport?researchstudy=S1&_count=1")
	go search("/Observation?researchstudy=S1")

	refused := receive(t, answers) // one of the two waits, and the other is refused
	if code, text := refused.outcome(t); refused.status != http.StatusTooManyRequests || code != "throttled" || !strings.HasPrefix(text, "Too many searches") {
		t.Errorf("the fourth search: %d %s", refused.status, refused.body)
	}
	if after := refused.header.Get("Retry-After"); after != "60" {
		t.Errorf("Retry-After is %q", after)
	}
	for what, got := range map[string]int{
		"a page of the cache":         paused.get(t, cached).status,
		"304":                         paused.get(t, cached, header("If-None-Match", tag)).status,
		"a read":                      paused.get(t, "/DiagnosticReport/S1").status,
		"a search for one report":     paused.get(t, "/DiagnosticReport?researchstudy=S2&_id=S2").status,
		"a search for one lesion":     paused.get(t, "/Observation?researchstudy=S2&identifier=1-S2-T01").status,
		"a reference with commas":     paused.get(t, "/Observation?researchstudy=S2&category=imaging&id=1-S2-T01%20(left,%20upper)").status,
		"a search for 11 lesions":     paused.get(t, "/Observation?researchstudy=S2&identifier=1,2,3,4,5,6,7,8,9,10,11").status,
		"a search of another partner": paused.get(t, cached+"&_count=1", other).status,
		"another search of the partner that has to wait": paused.get(t, cached+"&_count=2").status,
	} {
		want := http.StatusOK
		switch what {
		case "304":
			want = http.StatusNotModified
		case "another search of the partner that has to wait", "a search for 11 lesions":
			want = http.StatusTooManyRequests
		}
		if got != want {
			t.Errorf("%s is answered %d, want %d", what, got, want)
		}
	}

	go func() { waited <- paused.get(t, "/DiagnosticReport?researchstudy=S2&minNumber=2") }()
	receive(t, m.waits) // it waits for the number, although three searches run or wait
	close(m.proceed)
	receive(t, m.entered) // the search that waited
	for range 3 {
		if a := receive(t, answers); a.status != http.StatusOK {
			t.Errorf("a search that was not refused: %d %s", a.status, a.body)
		}
	}
	s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S2", "S2b", 2, 0)})
	if a := receive(t, waited); a.status != http.StatusOK && a.status != http.StatusServiceUnavailable { // the machine may be slow
		t.Errorf("the request that waited for a number: %d %s", a.status, a.body)
	}
	if diff := cmp.Diff(map[string]float64{"refused_searches_total too many": 3}, only(figures(t, paused.api), "searches")); diff != "" {
		t.Errorf("the metrics (-want +got):\n%s", diff)
	}
}

// receive returns what a channel sends, and fails the test if it sends nothing.
func receive[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(time.Minute):
		t.Fatal("nothing was received for a minute")
	}
	return value
}

// only returns the figures whose names contain a word.
func only(figures map[string]float64, word string) map[string]float64 {
	some := map[string]float64{}
	for name, value := range figures {
		if strings.Contains(name, word) {
			some[name] = value
		}
	}
	return some
}

func TestASearchThatRunsTooLongIsInterrupted(t *testing.T) {
	s := serveModel(t, unhurried, "S1")
	s.publishReports("S1", 200)
	impatient := serveReader(t, s.model, api.Config{SearchTimeout: time.Millisecond})
	impatient.signer, impatient.accessToken = s.signer, s.accessToken
	for number := range int64(5) { // more than the model has connections, none of which is lost
		a := impatient.get(t, hostileQuery(number))
		if code, text := a.outcome(t); a.status != http.StatusServiceUnavailable || code != "transient" || text != "Internal error" || a.header.Get("Retry-After") != "1" {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
	}
	if diff := cmp.Diff(map[string]float64{"refused_searches_total too slow": 5}, only(figures(t, impatient.api), "searches")); diff != "" {
		t.Errorf("the metrics (-want +got):\n%s", diff)
	}
	if total := *s.get(t, hostileQuery(0)).bundle(t).Total; total != 200 {
		t.Errorf("without interruption it finds %d reports", total)
	}
}
