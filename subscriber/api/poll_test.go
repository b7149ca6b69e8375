package api_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// A client may write the last update in more digits than the answer has.
func TestALastUpdateInMoreDigitsDoesNotReturnTheReportAgain(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1")
	first := s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "1", 1, 0)})
	s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "2", 2, 0)})
	s.wait()
	at := first.LastUpdated.Format("2006-01-02T15:04:05.000000")
	for _, c := range []struct {
		since string
		want  []string
	}{
		{"gt" + at + "Z", []string{"2"}}, {"gt" + at + "0Z", []string{"2"}}, {"gt" + at + "00Z", []string{"2"}}, {"gt" + at + "000Z", []string{"2"}},
		{"gt" + at + "0000000Z", []string{"2"}}, {"gt" + at + "9999999999+00:00", []string{"2"}}, {"ge" + at + "0000000Z", []string{"1", "2"}}, {"ge" + at + "0000001", []string{"2"}},
		{at + "0000000Z", []string{"1"}}, {at + "0000001Z", nil}, {"lt" + at + "0000001Z", []string{"1"}}, {"le" + at + "0000000Z", []string{"1"}},
		{"gt" + at + "5Z", []string{"2"}}, {"gt" + at + "999Z", []string{"2"}}, {"ge" + at + "0Z", []string{"1", "2"}}, {"ge" + at + "1Z", []string{"2"}},
		{at + "000Z", []string{"1"}}, {at + "5Z", nil}, {"lt" + at + "0Z", nil}, {"lt" + at + "1Z", []string{"1"}}, {"le" + at + "0Z", []string{"1"}}, {"ne" + at + "0Z", []string{"2"}},
	} {
		for _, name := range []string{"_lastUpdated", "issued"} {
			b := s.get(t, "/DiagnosticReport?researchstudy=S1&"+name+"="+c.since).bundle(t)
			if diff := cmp.Diff(c.want, b.ids(t)); diff != "" {
				t.Errorf("%s=%s (-want +got):\n%s", name, c.since, diff)
			}
		}
	}
}

// TestAPollerMissesNothing requests the first page after the last publication
// seen, again and again. Following next links would not do: a publication in
// between moves reports from one page to another.
func TestAPollerMissesNothing(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1")
	random := rand.New(rand.NewPCG(1, 2))
	want, got := map[string]string{}, map[string]string{}
	publish := func() {
		n := random.IntN(25) + 1
		id, kind := strconv.Itoa(n), events.ReportSigned
		if want[id] != "" {
			kind = events.ReportAmended
		}
		s.report(kind, fhir.Report{Assessment: assessment("S1", id, n, 0)})
		want[id] = fmt.Sprint(s.heads["S1"].Number)
		s.wait()
	}
	for range 20 {
		publish()
	}
	for since, writes := "", 60; ; {
		query := "/DiagnosticReport?researchstudy=S1&_sort=_lastUpdated&_count=3" + since
		var page struct {
			Entry []struct {
				Resource struct {
					ID   string
					Meta struct{ VersionID, LastUpdated string }
				}
			}
		}
		if err := json.Unmarshal(s.get(t, query).body, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entry {
			got[e.Resource.ID] = e.Resource.Meta.VersionID
			since = "&_lastUpdated=gt" + e.Resource.Meta.LastUpdated
		}
		if len(page.Entry) == 0 && writes == 0 {
			break
		}
		for range random.IntN(5) {
			if writes > 0 {
				publish()
				writes--
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-published last +seen last):\n%s", diff)
	}
}
