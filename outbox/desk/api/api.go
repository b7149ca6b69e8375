// Package api is the HTTP interface for source systems and PIs, /desk/v1. Source systems
// hand in assessments and see what became of them. PIs see what waits, sign it off,
// withdraw it, or return it to its source.
//
// The scheme of the credentials names the role of the caller: a source sends
// Authorization: Bearer {id}.{secret}, and a PI sends Basic with the user name and the
// password. Cookies are never read. Grants are looked up with each request. What is not
// granted has the same answer as what does not exist.
//
// It is not for partners and has a listener of its own. openapi.yaml describes each call;
// the tests compare it with the running program.
package api

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// BasePath is the path of the interface.
const BasePath = "/desk/v1"

//go:embed openapi.yaml
var description []byte

// Config has the API's optional settings.
type Config struct {
	// Signing lets PIs sign off and withdraw over this interface. Defaults to no.
	Signing bool

	// TrustedProxies are the proxies whose X-Forwarded-For is believed. Defaults to none.
	TrustedProxies clientaddress.Proxies

	// Metrics count the requests. Defaults to metrics that nobody reads.
	Metrics *metrics.Metrics
}

// API answers the calls of source systems and PIs. It is an http.Handler.
type API struct {
	outbox   *outbox.Outbox
	cfg      Config
	routes   []endpoint
	mux      *http.ServeMux
	crossing *http.CrossOriginProtection
}

// New returns the API over an outbox.
func New(o *outbox.Outbox, cfg Config) *API {
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New()
	}
	a := &API{outbox: o, cfg: cfg, mux: http.NewServeMux(), crossing: http.NewCrossOriginProtection()}
	a.routes = []endpoint{
		{Route{http.MethodPut, "/assessments/{id}", []Role{Source}}, a.deliver},
		{Route{http.MethodGet, "/assessments", []Role{Source, PI}}, a.listAssessments},
		{Route{http.MethodGet, "/assessments/{id}", []Role{Source, PI}}, a.readAssessment},
		{Route{http.MethodPost, "/assessments/{id}/sign-off", []Role{PI}}, a.signAssessment},
		{Route{http.MethodPost, "/assessments/{id}/withdrawal", []Role{PI}}, a.withdraw},
		{Route{http.MethodPost, "/assessments/{id}/return", []Role{PI}}, a.returnToSource},
		{Route{http.MethodGet, "/cases/{key}/{case}", []Role{PI}}, a.readCase},
		{Route{http.MethodPost, "/cases/{key}/{case}/sign-off", []Role{PI}}, a.signCase},
		{Route{http.MethodGet, "/check", []Role{PI}}, a.check},
		{Route{http.MethodGet, "/openapi.yaml", nil}, describe},
	}
	for _, e := range a.routes {
		a.mux.HandleFunc(e.Method+" "+BasePath+e.Path, a.handler(e))
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { rest.WriteError(w, r, rest.NotServed(a.mux, w, r)) })
	return a
}

// Role is what a caller is.
type Role string

// The roles.
const (
	Source Role = "source"
	PI     Role = "PI"
)

// Route is a call of the interface.
type Route struct {
	Method string
	Path   string // below BasePath, with parameters as in {id}
	Roles  []Role // that may call it; empty: no credentials are needed
}

// Routes returns all calls.
func (a *API) Routes() []Route {
	routes := make([]Route, len(a.routes))
	for i, e := range a.routes {
		routes[i] = e.Route
	}
	return routes
}

// endpoint is a route with what answers it.
type endpoint struct {
	Route

	// answer writes the answer, or writes nothing and returns an error.
	answer func(http.ResponseWriter, *request) error
}

// request is a request that was authenticated, unless its route is open.
type request struct {
	*http.Request
	address string // of the caller, without its port
	caller  caller
}

// ServeHTTP answers calls below BasePath, and 404 on any other path. A slash at the end of
// a path makes no difference.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counted := rest.Counted(w)
	if trimmed, ok := strings.CutSuffix(r.URL.Path, "/"); ok && trimmed != "" {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = trimmed, strings.TrimSuffix(r.URL.RawPath, "/")
	}
	defer func() {
		_, route, _ := strings.Cut(r.Pattern, " ") // set by the mux; that of the last resort has no method
		a.cfg.Metrics.CountRequest(cmp.Or(route, metrics.UnknownRoute), counted.Status())
	}()
	if escaped := r.URL.EscapedPath(); path.Clean(escaped) != escaped { // the mux would redirect, and its answer is for browsers
		rest.WriteError(counted, r, events.Errorf(events.NotFound, "Nothing is served on this path."))
		return
	}
	a.mux.ServeHTTP(counted, r)
}

// handler returns what serves an endpoint.
func (a *API) handler(e endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{address: a.cfg.TrustedProxies.Of(r)}
		q.Request = r.WithContext(outbox.WithAddress(r.Context(), q.address))
		if err := a.serve(w, q, e); err != nil {
			if code := events.CodeOf(err); code == events.Unauthenticated || code == events.Expired {
				challenge(w.Header(), r)
			}
			rest.WriteError(w, r, err)
		}
	}
}

// serve checks the origin and the credentials of the caller, and answers.
func (a *API) serve(w http.ResponseWriter, q *request, e endpoint) (err error) {
	if err := a.crossing.Check(q.Request); err != nil {
		return &events.Error{Code: events.Forbidden, Message: "A page of another origin may not send this.", Err: err}
	}
	if len(e.Roles) == 0 {
		return e.answer(w, q)
	}
	if q.caller, err = a.authenticate(q); err != nil {
		return err
	}
	if !slices.Contains(e.Roles, q.caller.role) {
		return events.Errorf(events.Forbidden, "This call is for a %s; the credentials are those of a %s.", e.Roles[0], q.caller.role)
	}
	return e.answer(w, q)
}

// writeJSON writes an answer.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", events.MediaJSON)
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // fails only if the caller has gone
	return nil
}

// describe answers with openapi.yaml.
func describe(w http.ResponseWriter, _ *request) error {
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(description) // fails only if the caller has gone
	return nil
}

// hidden returns the error for what the caller asked for by id. It is the same one where
// nothing has that id and where it is not the caller's to see. Other errors are returned
// as they are.
func hidden(err error, what, id string) error {
	if code := events.CodeOf(err); code != events.NotFound && code != events.Forbidden {
		return err
	}
	return &events.Error{Code: events.NotFound, Message: "there is no " + what + " " + intake.Printable(id) + " that you may see", Err: err}
}
