package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// assessment returns a valid assessment with so many lesions.
func assessment(study, id string, number, lesions int) events.Assessment {
	a := events.Assessment{
		ID: id, Study: study, SponsorStudy: "C1", TrialName: study, Criteria: events.Criteria, Case: events.Case{ID: int32(number), Revision: 1},
		Revision: 1, Name: events.Baseline, Subject: fmt.Sprintf("subject %d", number), Effective: fmt.Sprintf("2014-%02d", number%12+1), Conclusion: "No",
	}
	for i := range lesions {
		a.Lesions = append(a.Lesions, events.Lesion{ID: fmt.Sprintf("T%02d", i+1)})
	}
	return a
}

func (b bundle) ids(t testing.TB) []string {
	t.Helper()
	var ids []string
	for _, e := range b.Entry {
		_, id, ok := strings.Cut(e.FullURL, "&_Id=")
		if !ok {
			t.Fatalf("fullUrl is %s", e.FullURL)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestSearchesOfAReadModel(t *testing.T) {
	const study = "Étude, 1"
	s := serveModel(t, api.Config{}, study)
	for i, id := range []string{"10", "9", "a-1", "2"} {
		s.report(events.ReportSigned, fhir.Report{Assessment: assessment(study, id, i+1, 0)})
	}
	s.wait()
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", []string{"2", "9", "10", "a-1"}},
		{"&_sort=-_id", []string{"a-1", "10", "9", "2"}},
		{"&_sort=-caseid", []string{"2", "a-1", "9", "10"}},
		{"&_sort=_lastUpdated&_count=2&page=2", []string{"a-1", "2"}},
		{"&_id=9,2,7", []string{"2", "9"}},
		{"&_id=9&id=2", nil},
		{"&subject=subject+2", []string{"9"}},
		{"&subject=Patient/subject%25202", []string{"9"}},
		{"&date=02/2014", []string{"10"}},
		{"&date=ge04/01/2014", []string{"2", "a-1"}},
		{"&date=2014", []string{"2", "9", "10", "a-1"}},
		{"&date=ne2014-02", []string{"2", "9", "a-1"}},
		{"&_since=2026-03-01T12:00:00.000003Z", []string{"2", "a-1"}},
		{"&_lastUpdated=gt2026-03-01T12:00:00.000003Z", []string{"2"}},
		{"&issued=lt2026-03-01T12:00:00.000002Z", []string{"10"}},
		{"&caseid=3", []string{"a-1"}},
		{"&conclusion=No&name=Baseline", []string{"2", "9", "10", "a-1"}},
		{"&conclusion=Yes", nil},
		{"&identifier=9", []string{"9"}},
		{"&identifier=9,a-1", []string{"9", "a-1"}},
		{"&identifier=|9", nil},
		{"&identifier=https://fhir.mskcc.org/structure-definitions/%23AssessmentId|9", []string{"9"}},
		{"&identifier=https://fhir.mskcc.org/structure-definitions/%23AssessmentId|", []string{"2", "9", "10", "a-1"}},
		{"&identifier=https://fhir.mskcc.org/structure-definitions/%23CaseId|9", nil},
		{"&identifier=09", nil},
		{"&identifier=A-1", nil},
		{"&status=final&_id=9", []string{"9"}},
		{"&status=preliminary", nil},
		{"&status=entered-in-error,final", []string{"2", "9", "10", "a-1"}},
		{"&page=9", nil},
		{"&_summary=count", nil},
	} {
		t.Run(c.query, func(t *testing.T) {
			b := s.get(t, "/DiagnosticReport?researchstudy=E%CC%81tude,+1"+c.query).bundle(t)
			if diff := cmp.Diff(c.want, b.ids(t)); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheExampleIsServedAsItWasPublished(t *testing.T) {
	s := serveModel(t, api.Config{}, "FHIR-T")
	var signed []fhir.Report
	for _, r := range seedReports(t) {
		signed = append(signed, s.report(events.ReportSigned, r))
	}
	s.wait()
	got := s.get(t, "/DiagnosticReport?researchstudy=FHIR-T")
	compareWithSeed(t, got.body)
	for i, e := range got.bundle(t).Entry {
		want, err := signed[i].Encode()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(e.Resource)); diff != "" {
			t.Errorf("not the bytes that were signed:\n%s", diff)
		}
	}
}

func TestChangesOfAReportAreServedAtOnce(t *testing.T) {
	s := serveModel(t, api.Config{}, "S1")
	const search, read = "/DiagnosticReport?researchstudy=S1", "/DiagnosticReport/7"
	first := s.report(events.ReportSigned, fhir.Report{Assessment: assessment("S1", "7", 1, 1)})
	s.wait()
	tag := s.get(t, search).header.Get("Etag")
	if a := s.get(t, search, header("If-None-Match", tag)); a.status != http.StatusNotModified {
		t.Fatalf("unchanged: %d", a.status)
	}
	if a := s.get(t, read); a.header.Get("Etag") != `W/"1"` {
		t.Fatalf("read: ETag %s", a.header.Get("Etag"))
	}

	first.Assessment.Revision++
	s.report(events.ReportAmended, first)
	s.wait()
	a := s.get(t, search, header("If-None-Match", tag))
	if b := a.bundle(t); *b.Total != 1 || !strings.Contains(string(b.Entry[0].Resource), `"versionId":"2"`) {
		t.Errorf("after the amendment: %s", a.body)
	}
	if a := s.get(t, read, header("If-None-Match", `W/"1"`)); a.status != http.StatusOK || a.header.Get("Etag") != `W/"2"` {
		t.Errorf("after the amendment: %d, ETag %s", a.status, a.header.Get("Etag"))
	}

	first.Withdrawal = &fhir.Withdrawal{Signature: first.Signature, Reason: "wrong patient"}
	s.report(events.ReportWithdrawn, first)
	s.wait()
	if b := s.get(t, search).bundle(t); *b.Total != 0 || b.Entry != nil {
		t.Errorf("after the withdrawal: %d reports", *b.Total)
	}
	if a := s.get(t, read, header("If-None-Match", `W/"2"`)); a.status != http.StatusGone {
		t.Errorf("read after the withdrawal: %d", a.status)
	}

	s.grant("S2")
	if a := s.get(t, search); a.status != http.StatusForbidden {
		t.Errorf("search after the grant was revoked: %d", a.status)
	}
	if a := s.get(t, read); a.status != http.StatusNotFound {
		t.Errorf("read after the grant was revoked: %d", a.status)
	}
}
