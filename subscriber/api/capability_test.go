package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// anonymous removes the credentials of a request.
func anonymous(r *http.Request) {
	r.Header.Del("Authorization")
	r.Header.Del("X-Partnerid")
}

func TestTheCapabilityStatementNeedsNoCredentials(t *testing.T) {
	closed := events.Errorf(events.Unavailable, "not ready")
	s := serve(t, api.Config{Ready: func() error { return closed }, MaxCount: 200})
	a := s.get(t, "/metadata", anonymous)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/fhir+json" {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	var c struct {
		ResourceType, Status, Date, Kind, FHIRVersion string
		Implementation                                struct{ Description, URL string }
		Format                                        []string
		Rest                                          []struct {
			Mode     string
			Security struct {
				Extension []struct {
					URL       string
					Extension []struct{ URL, ValueURI string }
				}
				Service []struct{ Coding []struct{ Code string } }
			}
			Resource []struct {
				Type, Versioning, ConditionalRead string
				Interaction                       []struct{ Code string }
				SearchParam                       []struct{ Name, Type, Documentation string }
			}
		}
	}
	if err := json.Unmarshal(a.body, &c); err != nil {
		t.Fatal(err)
	}
	base := publicURL + api.DefaultBasePath
	if c.ResourceType != "CapabilityStatement" || c.Status != "active" || c.Kind != "instance" || c.FHIRVersion != "4.1.0" || c.Implementation.URL != base || c.Implementation.Description == "" {
		t.Errorf("got %s", a.body)
	}
	if diff := cmp.Diff([]string{"application/fhir+json", "application/json", "json"}, c.Format); diff != "" {
		t.Error(diff)
	}
	rest := c.Rest[0]
	if uris := rest.Security.Extension[0]; !strings.HasSuffix(uris.URL, "/oauth-uris") || uris.Extension[0].URL != "token" || uris.Extension[0].ValueURI != publicURL+api.DefaultOAuthPath {
		t.Errorf("OAuth URIs: %+v", uris)
	}
	resource := rest.Resource[0]
	if resource.Type != "DiagnosticReport" || resource.Versioning != "versioned" || resource.ConditionalRead != "not-match" || rest.Security.Service[0].Coding[0].Code != "OAuth" {
		t.Errorf("got %+v", resource)
	}
	types := map[string]string{}
	for _, p := range resource.SearchParam {
		if types[p.Name] = p.Type; p.Documentation == "" {
			t.Errorf("%s has no documentation", p.Name)
		}
	}
	want := map[string]string{
		"researchstudy": "token", "_id": "token", "id": "token", "identifier": "token", "status": "token", "conclusion": "token", "caseid": "token", "name": "token",
		"date": "date", "issued": "date", "_lastUpdated": "date", "_since": "date", "subject": "reference", "patient": "reference",
		"_sort": "special", "_elements": "special", "_summary": "special", "_total": "special", "_count": "special", "page": "special",
		"_include": "special", "asof": "special", "minNumber": "special",
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("search parameters (-want +got):\n%s", diff)
	}
}

// What the CapabilityStatement has of a type is what a search for it reads: with Prefer:
// handling=strict, a parameter is refused if and only if it is not there. The format and
// the partner's id are no search parameters.
func TestEachParameterOfTheCapabilityStatementIsRead(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	var c struct {
		Rest []struct {
			Resource []struct {
				Type        string
				SearchParam []struct{ Name string }
			}
		}
	}
	if err := json.Unmarshal(s.get(t, "/metadata").body, &c); err != nil {
		t.Fatal(err)
	}
	all := append(append(api.SearchParameters(), api.ObservationParameters()...), api.HistoryParameters()...)
	for _, resource := range c.Rest[0].Resource {
		stated := map[string]bool{"_format": true, "x-partnerid": true}
		for _, p := range resource.SearchParam {
			stated[p.Name] = true
		}
		for _, name := range append(all, "other") {
			a := s.get(t, "/"+resource.Type+"?researchstudy=S1&"+name+":modified="+partnerID, header("Prefer", "handling=strict"))
			if _, text := a.outcome(t); strings.Contains(text, "modifiers") != stated[name] {
				t.Errorf("%s of %s: %q", name, resource.Type, text)
			}
		}
	}
	if len(c.Rest[0].Resource) != 2 {
		t.Errorf("%d types", len(c.Rest[0].Resource))
	}
}

func TestTheCapabilityStatementAsAResource(t *testing.T) {
	s := serve(t, api.Config{})
	first := s.get(t, "/metadata", anonymous)
	for _, c := range []struct {
		name, path string
		options    []func(*http.Request)
		status     int
	}{
		{"with a slash", "/metadata/", nil, 200},
		{"with parameters", "/metadata?mode=full&_format=json", nil, 200},
		{"HEAD", "/metadata", []func(*http.Request){method("HEAD")}, 200},
		{"with a tag of it", "/metadata", []func(*http.Request){header("If-None-Match", first.header.Get("Etag"))}, 304},
		{"in XML", "/metadata?_format=xml", nil, 406},
		{"POST", "/metadata", []func(*http.Request){method("POST")}, 405},
		{"with bad credentials", "/metadata", []func(*http.Request){header("Authorization", "Bearer x")}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := s.get(t, c.path, c.options...); a.status != c.status {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
}

func TestASlashAtTheEndIsTheSameResource(t *testing.T) {
	s := serve(t, api.Config{}, "S1")
	s.reader.page = reports(2)
	s.reader.change(func(r *scriptedReader) { r.reports = map[string]readmodel.Report{"1": r.page.Reports[0]} })
	for _, path := range []string{"/DiagnosticReport?researchstudy=S1", "/DiagnosticReport/1", "/DiagnosticReport/none", "/DiagnosticReport/1?_format=json", "/metadata"} {
		resource, query, _ := strings.Cut(path, "?")
		want, got := s.get(t, path, header("X-Request-Id", "one")), s.get(t, resource+"/?"+query, header("X-Request-Id", "one"))
		if got.status != want.status || string(got.body) != string(want.body) {
			t.Errorf("%s: got %d %s, want %d %s", path, got.status, got.body, want.status, want.body)
		}
	}
	for _, path := range []string{"/DiagnosticReport//?researchstudy=S1", "//DiagnosticReport?researchstudy=S1", "/", "", "/DiagnosticReport/1//", "/DiagnosticReport/1/x/"} {
		if a := s.get(t, path); a.status != http.StatusNotFound {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
}
