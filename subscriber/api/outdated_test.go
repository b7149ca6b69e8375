package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

const newerText = "This needs a newer version of the service; ask again later."

// needsNewer wants 503 because only a newer version can answer.
func (s *stand) needsNewer(t *testing.T, path string, options ...func(*http.Request)) {
	t.Helper()
	a := s.get(t, path, options...)
	code, text := a.outcome(t)
	if a.status != http.StatusServiceUnavailable || code != "transient" || text != newerText || a.header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %s %q, Retry-After %q", path, a.status, code, text, a.header.Get("Retry-After"))
	}
	if a.header.Get("Etag") != "" || strings.Contains(string(a.body), "retracted") {
		t.Errorf("%s: the answer says %v %s", path, a.header, a.body)
	}
}

func (s *stand) answers(t *testing.T, path string, status int) answer {
	t.Helper()
	a := s.get(t, path)
	if a.status != status {
		t.Errorf("%s: %d %s, want %d", path, a.status, a.body, status)
	}
	return a
}

func TestAStudyThatOnlyANewerVersionUnderstandsAnswers503(t *testing.T) {
	const a, b = "/DiagnosticReport?researchstudy=A", "/DiagnosticReport?researchstudy=B"
	l := openLive(t, api.Config{}, "A", "B")
	sign := func(study, id string) fhir.Report {
		return l.report(events.ReportSigned, fhir.Report{Assessment: assessment(study, id, 1, 1)})
	}
	sign("A", "a1")
	sign("B", "b1")
	sign("C", "c1") // not granted
	gone := sign("A", "a2")
	gone.Withdrawal = "wrong patient"
	l.report(events.ReportWithdrawn, gone)
	l.newer("readercomment.added.optional.v1", "A")
	tag := l.answers(t, a, http.StatusOK).header.Get("Etag")
	version := l.answers(t, "/DiagnosticReport/a1", http.StatusOK).header.Get("Etag")
	l.answers(t, "/DiagnosticReport/none", http.StatusNotFound)

	l.newer("diagnosticreport.retracted.v1", "A")
	for _, path := range []string{a, a + "&_id=a1", a + "&_summary=count", a + "&page=9", a + "&_elements=id", "/DiagnosticReport/a1", "/DiagnosticReport/a2"} {
		l.needsNewer(t, path)
	}
	l.needsNewer(t, a, header("If-None-Match", tag))
	l.needsNewer(t, "/DiagnosticReport/a1", header("If-None-Match", version))
	if head := l.get(t, a, method(http.MethodHead)); head.status != http.StatusServiceUnavailable {
		t.Errorf("HEAD: %d", head.status)
	}

	t.Run("another study is answered as always", func(t *testing.T) {
		if got := l.answers(t, b, http.StatusOK).bundle(t).ids(t); len(got) != 1 {
			t.Errorf("reports %v", got)
		}
		l.answers(t, "/DiagnosticReport/b1", http.StatusOK)
	})
	t.Run("a report that is not known may be in the event that is not", func(t *testing.T) {
		l.needsNewer(t, "/DiagnosticReport/none")
		l.needsNewer(t, "/DiagnosticReport/c1") // the same, so that existence does not leak
		l.answers(t, "/DiagnosticReport/no_id", http.StatusNotFound)
	})
	t.Run("what is refused for itself is refused first", func(t *testing.T) {
		l.answers(t, a+"&date=x", http.StatusBadRequest)
		l.answers(t, "/DiagnosticReport?researchstudy=C", http.StatusForbidden)
		l.answers(t, "/DiagnosticReport/a1?_elements=bogus", http.StatusBadRequest)
	})
	t.Run("what is published later does not end it", func(t *testing.T) {
		sign("A", "a3")
		l.wait()
		l.needsNewer(t, a)
		l.needsNewer(t, "/DiagnosticReport/a3")
	})
	t.Run("who may not see the study notices nothing", func(t *testing.T) {
		l.grant("B")
		l.answers(t, a, http.StatusForbidden)
		l.answers(t, "/DiagnosticReport/a1", http.StatusNotFound)
		l.answers(t, "/DiagnosticReport/none", http.StatusNotFound)
		l.answers(t, "/DiagnosticReport/b1", http.StatusOK)
	})
}

func TestAccessThatOnlyANewerVersionUnderstandsAnswers503ToAll(t *testing.T) {
	for _, c := range []struct {
		kind  events.Kind
		study string
	}{{"access.role.v1", events.AccessStudy}, {"access.partner.v2", events.AccessStudy}, {"access.paused.v1", events.PartnerStudy("other")}} {
		t.Run(string(c.kind), func(t *testing.T) {
			l := openLive(t, api.Config{}, "A")
			l.report(events.ReportSigned, fhir.Report{Assessment: assessment("A", "a1", 1, 1)})
			l.newer("access.contact.optional.v1", events.AccessStudy)
			l.answers(t, "/DiagnosticReport?researchstudy=A", http.StatusOK)
			l.newer(c.kind, c.study)
			for _, path := range []string{"/DiagnosticReport?researchstudy=A", "/DiagnosticReport?researchstudy=B", "/DiagnosticReport/a1", "/DiagnosticReport/none"} {
				l.needsNewer(t, path)
			}
			l.grant("A") // does not say what the other event meant
			l.needsNewer(t, "/DiagnosticReport/a1")
			l.answers(t, "/Patient", http.StatusNotFound)
			if a := l.get(t, "/DiagnosticReport", method(http.MethodPost)); a.status != http.StatusMethodNotAllowed {
				t.Errorf("POST: %d", a.status)
			}
			if a := l.get(t, "/DiagnosticReport", header("Authorization")); a.status != http.StatusUnauthorized {
				t.Errorf("without a token: %d", a.status)
			}
		})
	}
}
