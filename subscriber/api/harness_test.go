package api_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

const (
	publicURL = "https://apigateway.apps.stageapi.mskcc.org"
	partnerID = "acme"
)

// server serves an API over HTTP and has the access token of a partner.
type server struct {
	*httptest.Server
	api         *api.API
	reader      *scriptedReader // nil over another Reader
	signer      *access.Signer
	accessToken string
}

func newSigner(t testing.TB) *access.Signer {
	t.Helper()
	key, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := access.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

const secret = "s3cret of acme"

// secrets returns the secrets in force of the tests' partners.
func secrets() []access.Secret { return []access.Secret{{SHA256: access.DigestSecret(secret)}} }

func issue(t testing.TB, signer *access.Signer, partner string, at time.Time) string {
	t.Helper()
	accessToken, err := signer.Issue("00000000-0000-7000-8000-000000000001", publicURL+api.DefaultOAuthPath, partner, secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return accessToken
}

// serve starts an API over a scripted reader. The studies are granted to the
// partner.
func serve(t testing.TB, cfg api.Config, studies ...string) *server {
	t.Helper()
	r := &scriptedReader{}
	s := serveReader(t, r, cfg)
	s.reader = r
	r.change(func(r *scriptedReader) { r.directory = s.directory(studies...) })
	return s
}

// directory returns a directory with the server's key and the partner, to whom
// the studies are granted.
func (s *server) directory(studies ...string) access.Directory {
	return access.Directory{}.
		WithKey(s.signer.Key(noon.Add(-time.Hour))).
		WithPartner(access.Partner{ID: partnerID, Studies: studies, Secrets: secrets(), Enabled: true})
}

// serveReader starts an API over a reader.
func serveReader(t testing.TB, reader api.Reader, cfg api.Config) *server {
	t.Helper()
	s := &server{signer: newSigner(t)}
	s.accessToken = issue(t, s.signer, partnerID, noon.Add(-time.Minute))
	cfg.PublicURL = publicURL
	if cfg.Clock == nil {
		cfg.Clock = func() time.Time { return noon }
	}
	s.api = api.New(reader, cfg)
	s.Server = httptest.NewServer(rest.Wrap(s.api, slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	return s
}

// unhurried has searches wait for their turn, and run, on a slow machine too.
var unhurried = api.Config{SearchWait: time.Minute, SearchTimeout: time.Minute}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get requests a path below the base path, as the partner unless an option
// changes that.
func (s *server) get(t testing.TB, path string, options ...func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.URL+api.DefaultBasePath+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.accessToken)
	r.Header.Set("X-Partnerid", partnerID)
	for _, option := range options {
		option(r)
	}
	response, err := s.Client().Do(r)
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

// method sets the method.
func method(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }

// header sets a header to the values, or removes it if there are none.
func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

type bundle struct {
	ResourceType string
	Type         string
	Identifier   struct{ System, Value string }
	Total        *int
	Link         []struct{ Relation, URL string }
	Entry        []struct {
		FullURL  string
		Resource json.RawMessage
	}
}

// bundle returns the Bundle that a search was answered with.
func (a answer) bundle(t testing.TB) bundle {
	t.Helper()
	var b bundle
	if err := json.Unmarshal(a.body, &b); err != nil || a.status != http.StatusOK || b.ResourceType != "Bundle" {
		t.Fatalf("want a Bundle, got %d %s (%v)", a.status, a.body, err)
	}
	return b
}

// links returns the Bundle's links in order: the relation and the query.
func (b bundle) links(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, l := range b.Link {
		rest, ok := strings.CutPrefix(l.URL, publicURL+api.DefaultBasePath+"/DiagnosticReport?")
		if !ok {
			t.Fatalf("link %s is not on the public URL", l.URL)
		}
		all = append(all, l.Relation+" "+rest)
	}
	return all
}

type outcome struct {
	ResourceType string
	Issue        []struct {
		Severity, Code, Diagnostics string
		Details                     struct{ Text string }
	}
}

// outcome returns issue code and text of a refusal.
func (a answer) outcome(t testing.TB) (code, text string) {
	t.Helper()
	var o outcome
	if err := json.Unmarshal(a.body, &o); err != nil || o.ResourceType != "OperationOutcome" || len(o.Issue) != 1 {
		t.Fatalf("want an OperationOutcome with one issue, got %d %s (%v)", a.status, a.body, err)
	}
	if o.Issue[0].Severity == "" || o.Issue[0].Diagnostics == "" {
		t.Errorf("issue without severity or request id: %s", a.body)
	}
	return o.Issue[0].Code, o.Issue[0].Details.Text
}
