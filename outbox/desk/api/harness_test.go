package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/fhir/rest/openapitest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	study    = "S/1" // its key is another text
	other    = "OTHER"
	password = "correct horse battery"
	meaning  = "I have reviewed and approve this assessment."
)

// installation is an outbox with sources and PIs, behind the API on a real listener.
type installation struct {
	t       testing.TB
	path    string // of the outbox
	outbox  *outbox.Outbox
	api     *api.API
	server  *httptest.Server
	doc     *openapi3.T
	callers map[string]string // value of Authorization by name

	mu    sync.Mutex
	seen  map[string]bool // "operation status" of all answers
	cases int32           // of the last assessment that fresh has registered
}

// install opens an installation with sources and these PIs. Dr.other is granted the other
// study, and dr.new has a one-time password.
func install(t testing.TB, cfg api.Config, users ...string) *installation {
	t.Helper()
	in := &installation{t: t, path: filepath.Join(t.TempDir(), "outbox.db"), callers: map[string]string{"nobody": ""}, seen: map[string]bool{}}
	var err error
	in.outbox, err = outbox.Open(t.Context(), in.path, outbox.Config{Log: slog.New(slog.DiscardHandler)})
	ok(t, err)
	t.Cleanup(func() { _ = in.outbox.Close() })
	acc := in.outbox.Accounts()
	for _, user := range users {
		granted := study
		if user == "dr.other" {
			granted = other
		}
		add := accountstest.AddPI
		if user == "dr.new" {
			add = func(ctx context.Context, acc *accounts.Accounts, by, user, name string, studies []string, password string) error {
				return acc.AddPI(ctx, by, user, name, studies, password)
			}
		}
		ok(t, add(t.Context(), acc, "ops", user, "Printed "+user, []string{granted}, password))
		in.callers[user] = basic(user, password)
	}
	for id, studies := range map[string][]string{"edc": {study}, "second": {study}, "elsewhere": {other}} {
		secret, err := acc.AddSource(t.Context(), "ops", id, studies)
		ok(t, err)
		in.callers[id] = "Bearer " + id + "." + secret
	}
	in.server, in.api = serve(t, in.outbox, cfg)
	answer, err := http.Get(in.server.URL + api.BasePath + "/openapi.yaml")
	ok(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ok(t, err)
	in.doc = openapitest.Load(t, text)
	return in
}

// serve serves the API over an outbox.
func serve(t testing.TB, o *outbox.Outbox, cfg api.Config) (*httptest.Server, *api.API) {
	t.Helper()
	a := api.New(o, cfg)
	log := slog.New(slog.DiscardHandler)
	server := httptest.NewUnstartedServer(nil)
	server.Config = rest.NewServer(rest.Wrap(a, log), log, desktest.Limits)
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return server, a
}

func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call is a request to the API. Path is that of the description, target the one that is
// sent, below the base path.
type call struct {
	as, method, path, target string
	body                     string
	header                   []string         // name, value, name, value …
	server                   *httptest.Server // nil: that of the installation
}

// answer is an answer of the API.
type answer struct {
	openapitest.Answer
}

// send sends a request and checks the answer against the description.
func (in *installation) send(c call) answer {
	in.t.Helper()
	server := c.server
	if server == nil {
		server = in.server
	}
	r, err := http.NewRequestWithContext(in.t.Context(), c.method, server.URL+api.BasePath+c.target, strings.NewReader(c.body))
	ok(in.t, err)
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if credentials := in.callers[c.as]; credentials != "" {
		r.Header.Set("Authorization", credentials)
	}
	for i := 0; i < len(c.header); i += 2 {
		r.Header.Set(c.header[i], c.header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	ok(in.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ok(in.t, err)
	a := openapitest.Answer{Status: response.StatusCode, Header: response.Header, Body: body}
	if item := in.doc.Paths.Find(c.path); item != nil && item.GetOperation(c.method) != nil {
		openapitest.Check(in.t, in.doc, c.path, c.method, api.BasePath+c.target, a)
		in.mu.Lock()
		in.seen[fmt.Sprintf("%s %d", item.GetOperation(c.method).OperationID, a.Status)] = true
		in.mu.Unlock()
	}
	return answer{a}
}

// want fails the test unless the answer has the status and, in its body, the texts.
func (in *installation) want(c call, status int, texts ...string) answer {
	in.t.Helper()
	a := in.send(c)
	if a.Status != status {
		in.t.Errorf("%s %s as %s: status %d, want %d: %.300s", c.method, c.target, c.as, a.Status, status, a.Body)
	}
	for _, text := range texts {
		if !strings.Contains(string(a.Body), text) {
			in.t.Errorf("%s %s as %s: %q is not in %.500s", c.method, c.target, c.as, text, a.Body)
		}
	}
	return a
}

// decode returns the body of an answer.
func decode[T any](t testing.TB, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &v); err != nil {
		t.Fatalf("%v: %.300s", err, a.Body)
	}
	return v
}

// visit returns an assessment of one target lesion with this diameter in mm.
func visit(study string, number int32, id string, timepoint int32, diameter, previous, baseline, nadir, conclusion string) events.Assessment {
	name := "Baseline"
	if timepoint > 0 {
		name = fmt.Sprint("Follow-up ", timepoint)
	}
	return events.Assessment{
		ID: id, Study: study, SponsorStudy: "C1", TrialName: study, Criteria: events.Criteria, Case: events.Case{ID: number, Revision: 1}, Revision: 1,
		Name: name, Timepoint: timepoint, Subject: fmt.Sprint("subject-", number), Effective: "2026-01-02",
		Measurement: &events.Measurement{
			Type: events.MeasurementType, Value: events.Decimal(diameter), Unit: events.Unit,
			ChangeFromPrevious: previous, ChangeFromBaseline: baseline, ChangeFromNadir: nadir,
		},
		Conclusion: conclusion,
		Lesions:    []events.Lesion{{ID: "T01", Category: "Target", State: "Present", Value: events.Decimal(diameter), Unit: events.Unit}},
	}
}

// text returns an assessment as JSON.
func text(t testing.TB, a events.Assessment) string {
	t.Helper()
	out, err := json.Marshal(a)
	ok(t, err)
	return string(out)
}

// put delivers an assessment.
func (in *installation) put(as string, a events.Assessment, header ...string) call {
	return call{as: as, method: "PUT", path: "/assessments/{id}", target: "/assessments/" + a.ID, body: text(in.t, a), header: header}
}

// fresh delivers a baseline in a case of its own and returns its id.
func (in *installation) fresh(as, study string) string {
	in.t.Helper()
	in.cases++
	id := fmt.Sprint("case-", in.cases)
	in.want(in.put(as, visit(study, in.cases, id, 0, "50", "--", "0.0 mm", "--", "No")), 201)
	return id
}

// shown is what a PI reads of an assessment.
type shown struct {
	ID, Study, StudyKey, Stamp, Digest string
	Case                               int32
	etag                               string
	Versions                           []json.RawMessage
	Audit                              []json.RawMessage
}

// read reads an assessment.
func (in *installation) read(as, id string) shown {
	in.t.Helper()
	a := in.want(call{as: as, method: "GET", path: "/assessments/{id}", target: "/assessments/" + id}, 200)
	s := decode[shown](in.t, a)
	s.etag = a.Header.Get("ETag")
	return s
}

// sign signs what was read.
func (s shown) sign(as, reason string) call {
	body := fmt.Sprintf(`{"meaning":%q,"stamp":%q,"digest":%q`, meaning, s.Stamp, s.Digest)
	if reason != "" {
		body += fmt.Sprintf(`,"reason":%q`, reason)
	}
	return call{as: as, method: "POST", path: "/assessments/{id}/sign-off", target: "/assessments/" + s.ID + "/sign-off", body: body + "}", header: []string{"If-Match", s.etag}}
}

// signCase signs what was read, as the one visit of its case.
func (s shown) signCase(as string) call {
	return call{
		as: as, method: "POST", path: "/cases/{key}/{case}/sign-off", target: fmt.Sprintf("/cases/%s/%d/sign-off", s.StudyKey, s.Case),
		body: fmt.Sprintf(`{"meaning":%q,"stamp":%q,"assessments":[{"id":%q,"digest":%q}]}`, meaning, s.Stamp, s.ID, s.Digest),
	}
}

// withdraw withdraws what was read.
func (s shown) withdraw(as string) call {
	return call{
		as: as, method: "POST", path: "/assessments/{id}/withdrawal", target: "/assessments/" + s.ID + "/withdrawal",
		body: `{"meaning":"I withdraw this.","reason":"wrong subject"}`, header: []string{"If-Match", s.etag},
	}
}

// giveBack returns what was read to its source.
func (s shown) giveBack(as string) call {
	return call{
		as: as, method: "POST", path: "/assessments/{id}/return", target: "/assessments/" + s.ID + "/return",
		body: `{"reason":"a lesion\n is missing "}`, header: []string{"If-Match", s.etag},
	}
}
