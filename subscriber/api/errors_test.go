package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Every refusal of a data call, in the order in which they are checked: each
// request also has the faults of the rows below it.
func TestRefusals(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	s.reader.reports = map[string]readmodel.Report{
		"gone":  {ID: "gone", Study: "S1", Version: 1, LastUpdated: noon},
		"other": {ID: "other", Study: "S2", Version: 1, LastUpdated: noon, Available: true, Body: []byte(`{}`)},
	}
	expired := issue(t, s.signer, partnerID, noon.Add(-2*time.Hour))
	s.reader.directory = s.reader.directory.
		WithKey(s.signer.Key(noon.Add(-3 * time.Hour))).
		WithPartner(access.Partner{ID: "removed", Studies: []string{"S1"}, Secrets: secrets()}).
		WithPartner(access.Partner{ID: "rotated", Studies: []string{"S1"}, Secrets: []access.Secret{{SHA256: access.DigestSecret("another")}}, Enabled: true})

	const everythingWrong = "/DiagnosticReport?_format=xml&date=x"
	type options = []func(*http.Request)
	noID := header("X-Partnerid")
	for _, c := range []struct {
		name    string
		path    string
		options options
		status  int
		code    string
		text    string // a part of the text; with = before it, the whole text
	}{
		{"an unknown path", "/Patient?researchstudy=S1", nil, 404, "not-found", ""},
		{"an observation, not offered yet", "/Observation?researchstudy=S1&category=imaging", nil, 404, "not-found", ""},
		{"a path below a report", "/DiagnosticReport/1/_history/1", nil, 404, "not-found", ""},
		{"a wrong method", everythingWrong, options{method("POST"), noID, header("Authorization")}, 405, "not-supported", ""},
		{"a wrong method on one report", "/DiagnosticReport/1", options{method("DELETE")}, 405, "not-supported", ""},
		{"no access token", everythingWrong, options{noID, header("Authorization")}, 401, "login", ""},
		{"a malformed access token", everythingWrong, options{noID, header("Authorization", "Bearer x.y.z")}, 401, "login", "=The access token is not valid."},
		{"another scheme", everythingWrong, options{noID, header("Authorization", "Basic YTpi")}, 401, "login", ""},
		{"two access tokens", everythingWrong, options{noID, header("Authorization", "Bearer "+s.accessToken, "Bearer "+s.accessToken)}, 401, "login", "more than one"},
		{"an empty access token", everythingWrong, options{noID, header("Authorization", "Bearer ")}, 401, "login", "=The access token is not valid."},
		{"an access token of a foreign key", everythingWrong, options{noID, header("Authorization", "Bearer "+issue(t, newSigner(t), partnerID, noon))}, 401, "login", "=The access token is not valid."},
		{"an access token of a removed partner", everythingWrong, options{noID, header("Authorization", "Bearer "+issue(t, s.signer, "removed", noon))}, 401, "login", "=The access token is not valid."},
		{"an access token for a secret that was replaced", everythingWrong, options{noID, header("Authorization", "Bearer "+issue(t, s.signer, "rotated", noon))}, 401, "login", "=The access token is not valid."},
		{"an access token of an unknown partner", everythingWrong, options{noID, header("Authorization", "Bearer "+issue(t, s.signer, "nobody", noon))}, 401, "login", "=The access token is not valid."},
		{"an expired access token", everythingWrong, options{noID, header("Authorization", "Bearer "+expired)}, 401, "expired", "=The access token has expired."},
		{"no x-partnerid", everythingWrong, options{noID}, 401, "login", "=Api Key was not provided."},
		{"an empty x-partnerid", everythingWrong, options{header("X-Partnerid", "")}, 401, "login", "=Api Key was not provided."},
		{"another x-partnerid", everythingWrong, options{header("X-Partnerid", "intruder")}, 401, "login", "=Incorrect Partnerid name."},
		{"another x-partnerid in the query", everythingWrong + "&x-partnerid=intruder", nil, 401, "login", "=Incorrect Partnerid name."},
		{"another x-partnerid in the query alone", everythingWrong + "&X-PartnerID=intruder", options{noID}, 401, "login", "=Incorrect Partnerid name."},
		{"a second x-partnerid", everythingWrong, options{header("X-Partnerid", partnerID, "intruder")}, 401, "login", "=Incorrect Partnerid name."},
		{"an unsupported format", everythingWrong, nil, 406, "not-supported", ""},
		{"an unsupported format in the header", "/DiagnosticReport?date=x", options{header("Accept", "application/fhir+xml")}, 406, "not-supported", ""},
		{"a query too long", "/DiagnosticReport?date=x" + strings.Repeat("&a=b", 4000), nil, 413, "too-long", ""},
		{"no study", "/DiagnosticReport?date=x", nil, 400, "required", "=Missing required query parameter."},
		{"an empty study", "/DiagnosticReport?researchstudy=&date=x", nil, 400, "required", "=Missing required query parameter."},
		{"a study not granted", "/DiagnosticReport?researchstudy=S2&date=x", nil, 403, "security", "=Access to protocol denied."},
		{"an unknown study", "/DiagnosticReport?researchstudy=S3&date=x", nil, 403, "security", "=Access to protocol denied."},
		{"one of two studies not granted", "/DiagnosticReport?researchstudy=S1,S2&date=x", nil, 403, "security", "=Access to protocol denied."},
		{"the internal study", "/DiagnosticReport?researchstudy=_access&date=x", nil, 403, "security", "=Access to protocol denied."},
		{"the internal study of a partner", "/DiagnosticReport?researchstudy=_partner/acme&date=x", nil, 403, "security", "=Access to protocol denied."},
		{"a malformed date", "/DiagnosticReport?researchstudy=S1&date=x", nil, 400, "value", "date"},
		{"a malformed parameter of one report", "/DiagnosticReport/none?_elements=bogus", nil, 400, "value", "_elements"},
		{"an unknown report", "/DiagnosticReport/none", nil, 404, "not-found", "=There is no such report."},
		{"an id that no report can have", "/DiagnosticReport/no_id", nil, 404, "not-found", "=There is no such report."},
		{"a report of another study", "/DiagnosticReport/other", nil, 404, "not-found", "=There is no such report."},
		{"a report no longer available", "/DiagnosticReport/gone", nil, 410, "deleted", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.get(t, c.path, c.options...)
			code, text := a.outcome(t)
			if a.status != c.status || code != c.code {
				t.Errorf("got %d %s %q, want %d %s", a.status, code, text, c.status, c.code)
			}
			if whole, ok := strings.CutPrefix(c.text, "="); ok && text != whole || !strings.Contains(text, whole) {
				t.Errorf("text is %q, want %q", text, c.text)
			}
			if got, want := a.header.Get("WWW-Authenticate"), challenge(c.status, text); got != want {
				t.Errorf("WWW-Authenticate is %q, want %q", got, want)
			}
			if got := a.header.Get("Allow"); (c.status == 405) != (got == "GET, HEAD") {
				t.Errorf("Allow is %q", got)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %q", got)
			}
			if strings.Contains(string(a.body), s.accessToken) || strings.Contains(string(a.body), "intruder") {
				t.Errorf("the answer repeats a credential or another's name: %s", a.body)
			}
		})
	}
	if n := s.reader.searches(); n != 0 {
		t.Errorf("%d refused searches reached the read model", n)
	}
}

// challenge returns the value of WWW-Authenticate for a status and a text.
func challenge(status int, text string) string {
	switch {
	case status != 401:
		return ""
	case strings.HasPrefix(text, "The access token"):
		return `Bearer realm="signoff", error="invalid_token"`
	default:
		return `Bearer realm="signoff"`
	}
}

func TestInternalErrors(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"an internal error is not shown", errors.New("disk I/O error at page 17"), 500, "exception"},
		{"the read model is unavailable", events.Errorf(events.Unavailable, "The read model is starting."), 503, "transient"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.reader.change(func(r *scriptedReader) { r.err = c.err })
			for _, path := range []string{"/DiagnosticReport?researchstudy=S1", "/DiagnosticReport/1"} {
				a := s.get(t, path)
				if code, _ := a.outcome(t); a.status != c.status || code != c.code || strings.Contains(string(a.body), "page 17") {
					t.Errorf("%s: got %d %s", path, a.status, a.body)
				}
			}
		})
	}
}
