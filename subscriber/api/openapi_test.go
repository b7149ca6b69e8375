package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/fhir/rest/openapitest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// described is the read API and the token endpoint on one server, with what
// openapi.yaml says of them, and more servers with the same routes: one that
// is not ready, one whose files are closed, and two whose model refuses.
type described struct {
	*modelServer
	doc             *openapi3.T
	running         *httptest.Server
	unready, broken *httptest.Server
	expired         *httptest.Server // every position but the last has expired
	busy            *httptest.Server // the partner has too many searches under way
	secret          string           // of the partner at the token endpoint
}

func serveDescribed(t *testing.T) *described {
	t.Helper()
	s := &described{modelServer: serveModel(t, api.Config{}, "FHIR-T")}
	for _, r := range seedReports(t) {
		s.sign(events.ReportSigned, r)
	}
	withdrawn := s.sign(events.ReportSigned, fhir.Report{Assessment: assessment("FHIR-T", "799", 99, 1)})
	withdrawn.Withdrawal = &fhir.Withdrawal{Signature: withdrawn.Signature, Reason: "wrong patient"}
	s.report(events.ReportWithdrawn, withdrawn)
	s.wait()

	box := openOutbox(t)
	var err error
	if s.secret, err = box.Accounts().AddPartner(t.Context(), "test", partnerID, "Acme", []string{"FHIR-T"}); err != nil {
		t.Fatal(err)
	}
	s.running = s.together(s.model, box, nil)
	s.expired = s.together(expired{s.model}, box, nil)
	s.busy = s.together(busy{s.model}, box, nil)
	s.unready = s.together(s.model, box, func() error { return events.Errorf(events.Unavailable, "starting") })
	closedModel, err := readmodel.Open(t.Context(), s.path, readmodel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	closedBox := openOutbox(t)
	for _, c := range []io.Closer{closedModel, closedBox} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.broken = s.together(closedModel, closedBox, nil)

	served := s.send(t, s.running, http.MethodGet, api.DefaultBasePath+"/openapi.yaml", "", anonymous)
	s.doc = openapitest.Load(t, served.body)
	return s
}

// expired is a model whose positions have expired.
type expired struct{ *readmodel.Model }

func (expired) CheckPosition(context.Context, string, uint64, time.Time) error {
	return events.Errorf(events.Gone, "expired")
}

// busy is a model whose searches are refused. TestSearchesOfAPartnerAreLimitedAndThoseOfOthersAreNot
// has those that really are.
type busy struct{ *readmodel.Model }

func (busy) Search(context.Context, readmodel.Query) (readmodel.Page, error) {
	return readmodel.Page{}, events.Errorf(events.Throttled, "busy")
}

func (busy) History(context.Context, readmodel.HistoryQuery) (readmodel.History, error) {
	return readmodel.History{}, events.Errorf(events.Throttled, "busy")
}

func openOutbox(t *testing.T) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	return box
}

// together serves the read API, the token endpoint and the key set, as the
// program does.
func (s *described) together(reader api.Reader, box *outbox.Outbox, ready func() error) *httptest.Server {
	clock := func() time.Time { return noon }
	reports := api.New(reader, api.Config{PublicURL: publicURL, Clock: clock, Ready: ready})
	tokens := token.New(box.Accounts(), s.signer, token.Config{Clock: clock, Ready: ready})
	keys := token.JWKS(func() []access.Key { return []access.Key{s.signer.Key(noon)} }, clock)
	server := httptest.NewServer(rest.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == token.Path:
			tokens.ServeHTTP(w, r)
		case r.URL.Path == token.JWKSPath && ready != nil:
			rest.WriteError(w, r, ready())
		case r.URL.Path == token.JWKSPath:
			keys.ServeHTTP(w, r)
		default:
			reports.ServeHTTP(w, r)
		}
	}), slog.New(slog.DiscardHandler)))
	s.t.Cleanup(server.Close)
	return server
}

// send sends a request as the partner, with a form if there is one.
func (s *described) send(t *testing.T, server *httptest.Server, method, target, form string, options ...func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequest(method, server.URL+target, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	if form != "" {
		r.Header.Set("Content-Type", formType)
	}
	r.Header.Set("X-Request-Id", "request-1")
	if !strings.Contains(target, "/oauth2/") {
		r.Header.Set("Authorization", "Bearer "+s.accessToken)
		r.Header.Set("X-Partnerid", partnerID)
	}
	for _, option := range options {
		option(r)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, body}
}

// stem returns the part of a path before its parameters.
func stem(path string) string {
	path, _, _ = strings.Cut(path, "/{")
	return path
}

// target returns the path of an operation on its server.
func (s *described) target(path string, item *openapi3.PathItem) string {
	if len(item.Servers) > 0 {
		return path
	}
	return api.DefaultBasePath + path
}

// check reports where an answer is not as it is described.
func (s *described) check(t *testing.T, path, method, target string, a answer) {
	t.Helper()
	openapitest.Check(t, s.doc, path, method, target, openapitest.Answer{Status: a.status, Header: a.header, Body: a.body})
}

// each calls f for each operation of the description.
func (s *described) each(f func(path, method string, item *openapi3.PathItem, o *openapi3.Operation)) {
	openapitest.Each(s.doc, f)
}

// Each status of each operation is described, and is the program's.
func TestEachStatusIsAsDescribed(t *testing.T) {
	s := serveDescribed(t)
	type request struct {
		server  *httptest.Server // nil: running
		suffix  string           // of the path: an id and a query
		form    string
		options []func(*http.Request)
		before  int // how often the request is sent before
	}
	with := func(o ...func(*http.Request)) []func(*http.Request) { return o }
	const study, long = "?researchstudy=FHIR-T", "&name="
	known := header("If-None-Match", "*")
	large := long + strings.Repeat("a", 9000)
	data := func(id, good string) map[string]request {
		return map[string]request{
			"200": {suffix: id + good}, "304": {suffix: id + good, options: with(known)}, "401": {suffix: id + good, options: with(header("Authorization"))},
			"400": {suffix: id + "?_elements=bogus"}, "406": {suffix: id + good, options: with(header("Accept", "application/xml"))},
			"413": {suffix: id + "?a=b" + large}, "500": {server: s.broken, suffix: id + good}, "503": {server: s.unready, suffix: id + good},
		}
	}
	requests := map[string]map[string]request{
		"search": data("", study), "read": data("/790", ""), "searchByForm": data("", study),
		"searchObservations": data("", study), "searchObservationsByForm": data("", study), "readObservation": data("/163-790-T01", ""),
		"history": data("", study), "historyOfReports": data("", study), "historyOfReport": data("/790/_history", ""), "readVersion": data("/790/_history/2", ""),
		"metadata": {"200": {}, "304": {options: with(known)}, "400": {suffix: "?_format=%zz"}, "406": {suffix: "?_format=xml"}},
		"openapi":  {"200": {}, "304": {options: with(known)}},
		"docs":     {"200": {}, "304": {options: with(known)}},
		"jwks":     {"200": {}, "503": {server: s.unready}},
		"token": {
			"200": {form: s.tokenForm(partnerID, s.secret)}, "400": {form: strings.Replace(s.tokenForm(partnerID, s.secret), "client_credentials", "password", 1)}, "401": {form: s.tokenForm(partnerID, "wrong")},
			"429": {form: s.tokenForm("nobody", "wrong"), before: 5}, "500": {server: s.broken, form: s.tokenForm(partnerID, s.secret)}, "503": {server: s.unready, form: s.tokenForm(partnerID, s.secret)},
		},
	}
	requests["search"]["400"] = request{}
	requests["search"]["403"] = request{suffix: "?researchstudy=ANOTHER"}
	requests["read"]["404"], requests["read"]["410"] = request{suffix: "/none"}, request{suffix: "/799"}
	for _, id := range []string{"searchByForm", "searchObservationsByForm"} {
		delete(requests[id], "304")
		requests[id]["200"] = request{form: study[1:]}
		requests[id]["403"] = request{form: "researchstudy=ANOTHER"}
		requests[id]["415"] = request{form: study[1:], options: with(header("Content-Type", "text/plain"))}
		requests[id]["410"] = request{server: s.expired, form: study[1:] + "&asof=1"}
	}
	for id, path := range map[string]string{
		"search": study, "searchByForm": study, "searchObservations": study, "searchObservationsByForm": study,
		"history": study, "historyOfReports": study, "historyOfReport": "/790/_history",
	} {
		requests[id]["429"] = request{server: s.busy, suffix: path}
	}
	for _, id := range []string{"searchObservations", "history", "historyOfReports"} {
		requests[id]["400"], requests[id]["403"] = request{}, request{suffix: "?researchstudy=ANOTHER"}
	}
	for _, id := range []string{"search", "searchObservations"} {
		requests[id]["410"] = request{server: s.expired, suffix: study + "&asof=1"}
	}
	requests["readObservation"]["404"], requests["readObservation"]["410"] = request{suffix: "/none"}, request{suffix: "/99-799-T01"}
	requests["historyOfReport"]["400"], requests["historyOfReport"]["404"] = request{suffix: "/790/_history?_sort=date"}, request{suffix: "/none/_history"}
	requests["readVersion"]["404"], requests["readVersion"]["410"] = request{suffix: "/790/_history/1"}, request{suffix: "/799/_history/6"}

	s.each(func(path, method string, item *openapi3.PathItem, o *openapi3.Operation) {
		tried := requests[o.OperationID]
		for status := range o.Responses.Map() {
			q, ok := tried[status]
			if !ok {
				t.Errorf("%s %s: status %s is described and not tried", method, path, status)
				continue
			}
			delete(tried, status)
			t.Run(o.OperationID+" "+status, func(t *testing.T) {
				server := q.server
				if server == nil {
					server = s.running
				}
				target := s.target(stem(path), item) + q.suffix
				for range q.before {
					s.send(t, server, method, target, q.form, q.options...)
				}
				for _, mediaType := range append([]string{""}, jsonTypes(o.Responses.Value(status).Value)...) {
					options := q.options
					if mediaType != "" && status != "406" {
						options = append(slices.Clone(options), header("Accept", mediaType))
					}
					a := s.send(t, server, method, target, q.form, options...)
					if strconv.Itoa(a.status) != status {
						t.Fatalf("%s %s: %d %s", method, target, a.status, a.body)
					}
					if mediaType != "" && status != "406" && a.header.Get("Content-Type") != mediaType {
						t.Errorf("%s for %s", a.header.Get("Content-Type"), mediaType)
					}
					s.check(t, path, method, target, a)
				}
			})
		}
		for status := range tried {
			t.Errorf("%s %s: status %s occurs and is not described", method, path, status)
		}
	})
}

// jsonTypes returns the media types of a response of which one is chosen by Accept.
func jsonTypes(r *openapi3.Response) []string {
	if len(r.Content) < 2 {
		return nil
	}
	var types []string
	for mediaType := range r.Content {
		types = append(types, mediaType)
	}
	return types
}

func (*described) tokenForm(id, secret string) string {
	return url.Values{"grant_type": {"client_credentials"}, "scope": {"full"}, "client_id": {id}, "client_secret": {secret}}.Encode()
}

// Each example is what the program answers.
func TestEachExampleIsTheAnswer(t *testing.T) {
	s := serveDescribed(t)
	examples := 0
	s.each(func(path, method string, item *openapi3.PathItem, o *openapi3.Operation) {
		for status, response := range o.Responses.Map() {
			for mediaType, content := range response.Value.Content {
				for name, e := range content.Examples {
					examples++
					t.Run(o.OperationID+" "+status+" "+name, func(t *testing.T) {
						query, _ := e.Value.Extensions["x-request"].(string)
						form, _ := e.Value.Extensions["x-form"].(string)
						target := s.target(stem(path), item) + query
						a := s.send(t, s.running, method, target, strings.ReplaceAll(form, "…", url.QueryEscape(s.secret)), header("Accept", mediaType))
						var got any
						if err := json.Unmarshal(a.body, &got); err != nil || strconv.Itoa(a.status) != status {
							t.Fatalf("%s: %d %s (%v)", target, a.status, a.body, err)
						}
						want, err := json.Marshal(e.Value.Value)
						if err != nil {
							t.Fatal(err)
						}
						var plain any
						if err := json.Unmarshal(want, &plain); err != nil {
							t.Fatal(err)
						}
						if diff := cmp.Diff(plain, got); diff != "" {
							t.Errorf("(-example +answer):\n%s", diff)
						}
					})
				}
			}
		}
	})
	if examples < 8 {
		t.Errorf("%d examples", examples)
	}
}

// Each parameter is one that the program reads, with its example, and the other
// way round.
func TestEachParameterIsAsDescribed(t *testing.T) {
	s := serveDescribed(t)
	described := map[string][]string{}
	strict := header("Prefer", "handling=strict")
	s.each(func(path, method string, item *openapi3.PathItem, o *openapi3.Operation) {
		for _, p := range o.Parameters {
			if p.Value.In != "query" {
				continue
			}
			described[o.OperationID] = append(described[o.OperationID], p.Value.Name)
			if o.OperationID == "metadata" {
				continue // ignores other parameters
			}
			id := map[string]string{
				"read": "/790", "readObservation": "/163-790-T01", "historyOfReport": "/790/_history", "readVersion": "/790/_history/2",
			}[o.OperationID]
			q := url.Values{p.Value.Name: {example(t, p.Value)}}
			if id == "" && p.Value.Name != "researchstudy" {
				q.Set("researchstudy", "FHIR-T")
			}
			target := s.target(stem(path), item) + id + "?" + q.Encode()
			if a := s.send(t, s.running, method, target, "", strict); a.status != http.StatusOK {
				t.Errorf("%s: %d %s", target, a.status, a.body)
			} else {
				s.check(t, path, method, target, a)
			}
		}
	})
	want := map[string][]string{
		"search": api.SearchParameters(), "read": api.ReadParameters(), "readVersion": api.ReadParameters(), "metadata": {"_format"},
		"searchObservations": api.ObservationParameters(), "readObservation": api.ReadParameters(),
		"history": api.HistoryParameters(), "historyOfReports": api.HistoryParameters(), "historyOfReport": api.HistoryOfReportParameters(),
	}
	for _, all := range []map[string][]string{want, described} {
		for _, names := range all {
			slices.Sort(names)
		}
	}
	if diff := cmp.Diff(want, described); diff != "" {
		t.Errorf("(-read +described):\n%s", diff)
	}
}

// example returns the example of a parameter, or fails.
func example(t *testing.T, p *openapi3.Parameter) string {
	t.Helper()
	switch v := p.Example.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		return strconv.Itoa(v)
	case uint64:
		return strconv.FormatUint(v, 10)
	default:
		t.Fatalf("%s has the example %v (%T)", p.Name, v, v)
		return ""
	}
}

// The paths and methods are those of the program: other methods are refused with
// those that are described, other paths are unknown.
func TestEachRouteIsDescribed(t *testing.T) {
	s := serveDescribed(t)
	for path, item := range s.doc.Paths.Map() {
		target := s.target(strings.NewReplacer("{id}", "790", "{number}", "2").Replace(path), item)
		want := openapitest.Methods(item)
		a := s.send(t, s.running, "TRACE", target, "")
		if got := a.header.Get("Allow"); a.status != http.StatusMethodNotAllowed || got != strings.Join(want, ", ") {
			t.Errorf("%s: %d, Allow %q, described are %v", path, a.status, got, want)
		}
		if strings.HasSuffix(path, "}") || len(item.Servers) > 0 {
			continue
		}
		if a := s.send(t, s.running, "GET", target+"x", ""); a.status != http.StatusNotFound {
			t.Errorf("%sx: %d", path, a.status)
		}
	}
	// Observation may be written observation in a path, and is described once.
	served, described := map[string]string{}, map[string]string{}
	for path, methods := range s.api.Routes() {
		path = strings.Replace(path, "/observation", "/Observation", 1)
		served[path] = strings.Join(methods, ", ")
	}
	for path, item := range s.doc.Paths.Map() {
		if len(item.Servers) == 0 {
			described[path] = strings.Join(openapitest.Methods(item), ", ")
		}
	}
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("(-served +described):\n%s", diff)
	}
}

func TestThePageForPeople(t *testing.T) {
	s := serveDescribed(t)
	a := s.send(t, s.running, http.MethodGet, api.DefaultBasePath+"/docs", "", anonymous)
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("got %d with %v", a.status, a.header)
	}
	if !bytes.Contains(a.body, []byte(publicURL+api.DefaultBasePath+"/DiagnosticReport")) || !bytes.Contains(a.body, []byte(publicURL+token.Path)) {
		t.Errorf("the addresses of the installation are not in %.300s", a.body)
	}
	if token.Path != api.DefaultOAuthPath {
		t.Errorf("the token endpoint is on %s", token.Path)
	}
}

func TestTheREADMENamesEachParameter(t *testing.T) {
	_, table, _ := strings.Cut(string(readFile(t, "../../README.md")), "| parameter | meaning |")
	table, _, _ = strings.Cut(table, "\n\n")
	var named []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "| ")
		if len(cells) < 2 {
			continue
		}
		for _, m := range regexp.MustCompile("`([A-Za-z_-]+)`").FindAllStringSubmatch(cells[1], -1) {
			named = append(named, m[1])
		}
	}
	named = append(named, "_since") // named beside _lastUpdated
	if want := api.SearchParameters(); !slices.Equal(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(named))) {
		t.Errorf("README has %v, the program %v", named, want)
	}
	if !strings.Contains(table, "`_since` is") {
		t.Error("README does not explain _since")
	}
}
