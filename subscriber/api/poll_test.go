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
