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

// needsNewer checks that the answer is the 503 that asks for a newer version.
func (s *server) needsNewer(t *testing.T, path string, options ...func(*http.Request)) {
	t.Helper()
	a := s.get(t, path, options...)
	code, text := a.outcome(t)
	if a.status != http.StatusServiceUnavailable || code != "transient" || text != newerText || a.header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %s %q, Retry-After %q", path, a.status, code, text, a.header.Get("Retry-After"))
	}
	if a.header.Get("Etag") != "" || strings.Contains(string(a.body), "retracted") {
		t.Errorf("%s: the answer has %v %s", path, a.header, a.body)
	}
}

// getStatus checks that the answer has the status, and returns it.
func (s *server) getStatus(t *testing.T, path string, status int) answer {
	t.Helper()
	a := s.get(t, path)
	if a.status != status {
		t.Errorf("%s: %d %s, want %d", path, a.status, a.body, status)
	}
	return a
}

func TestAStudyThatOnlyANewerVersionUnderstandsAnswers503(t *testing.T) {
	const a, b = "/DiagnosticReport?researchstudy=A", "/DiagnosticReport?researchstudy=B"
	s := serveModel(t, api.Config{}, "A", "B")
	sign := func(study, id string) fhir.Report {
		return s.report(events.ReportSigned, fhir.Report{Assessment: assessment(study, id, 1, 1)})
	}
	sign("A", "a1")
	sign("B", "b1")
	sign("C", "c1") // not granted
	gone := sign("A", "a2")
	gone.Withdrawal = &fhir.Withdrawal{Signature: gone.Signature, Reason: "wrong patient"}
	s.report(events.ReportWithdrawn, gone)
	s.publishUnknown("readercomment.added.optional.v1", "A")
	tag := s.getStatus(t, a, http.StatusOK).header.Get("Etag")
	version := s.getStatus(t, "/DiagnosticReport/a1", http.StatusOK).header.Get("Etag")
	s.getStatus(t, "/DiagnosticReport/none", http.StatusNotFound)

	s.publishUnknown("diagnosticreport.retracted.v1", "A")
	for _, path := range []string{a, a + "&_id=a1", a + "&_summary=count", a + "&page=9", a + "&_elements=id", "/DiagnosticReport/a1", "/DiagnosticReport/a2"} {
		s.needsNewer(t, path)
	}
	s.needsNewer(t, a, header("If-None-Match", tag))
	s.needsNewer(t, "/DiagnosticReport/a1", header("If-None-Match", version))
	if head := s.get(t, a, method(http.MethodHead)); head.status != http.StatusServiceUnavailable {
		t.Errorf("HEAD: %d", head.status)
	}

	t.Run("another study is answered as always", func(t *testing.T) {
		if got := s.getStatus(t, b, http.StatusOK).bundle(t).ids(t); len(got) != 1 {
			t.Errorf("reports %v", got)
		}
		s.getStatus(t, "/DiagnosticReport/b1", http.StatusOK)
	})
	t.Run("an unknown report may be in the unknown event", func(t *testing.T) {
		s.needsNewer(t, "/DiagnosticReport/none")
		s.needsNewer(t, "/DiagnosticReport/c1") // the same, so that existence does not leak
		s.getStatus(t, "/DiagnosticReport/no_id", http.StatusNotFound)
	})
	t.Run("other refusals come first", func(t *testing.T) {
		s.getStatus(t, a+"&date=x", http.StatusBadRequest)
		s.getStatus(t, "/DiagnosticReport?researchstudy=C", http.StatusForbidden)
		s.getStatus(t, "/DiagnosticReport/a1?_elements=bogus", http.StatusBadRequest)
	})
	t.Run("later events do not end it", func(t *testing.T) {
		sign("A", "a3")
		s.wait()
		s.needsNewer(t, a)
		s.needsNewer(t, "/DiagnosticReport/a3")
	})
	t.Run("a partner without the grant sees no difference", func(t *testing.T) {
		s.grant("B")
		s.getStatus(t, a, http.StatusForbidden)
		s.getStatus(t, "/DiagnosticReport/a1", http.StatusNotFound)
		s.getStatus(t, "/DiagnosticReport/none", http.StatusNotFound)
		s.getStatus(t, "/DiagnosticReport/b1", http.StatusOK)
	})
}

func TestAccessThatOnlyANewerVersionUnderstandsAnswers503ToAll(t *testing.T) {
	for _, c := range []struct {
		kind  events.Kind
		study string
	}{{"access.role.v1", events.AccessStudy}, {"access.partner.v2", events.AccessStudy}, {"access.paused.v1", events.PartnerStudy("other")}} {
		t.Run(string(c.kind), func(t *testing.T) {
			s := serveModel(t, api.Config{}, "A")
			s.report(events.ReportSigned, fhir.Report{Assessment: assessment("A", "a1", 1, 1)})
			s.publishUnknown("access.contact.optional.v1", events.AccessStudy)
			s.getStatus(t, "/DiagnosticReport?researchstudy=A", http.StatusOK)
			s.publishUnknown(c.kind, c.study)
			for _, path := range []string{"/DiagnosticReport?researchstudy=A", "/DiagnosticReport?researchstudy=B", "/DiagnosticReport/a1", "/DiagnosticReport/none"} {
				s.needsNewer(t, path)
			}
			s.grant("A") // does not replace the other event
			s.needsNewer(t, "/DiagnosticReport/a1")
			s.getStatus(t, "/Patient", http.StatusNotFound)
			if a := s.get(t, "/DiagnosticReport", method(http.MethodPost)); a.status != http.StatusMethodNotAllowed {
				t.Errorf("POST: %d", a.status)
			}
			if a := s.get(t, "/DiagnosticReport", header("Authorization")); a.status != http.StatusUnauthorized {
				t.Errorf("without a token: %d", a.status)
			}
		})
	}
}
