package api

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/api/openapi"
	"github.com/seed-e88a4ece/signoff/subscriber/api/partnerlimit"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Reader is the part of the read model that the API uses.
type Reader interface {
	// Search returns a page of a study's available reports or Observations. The
	// error's code is Outdated for a study that Outdated names.
	Search(ctx context.Context, q readmodel.Query) (readmodel.Page, error)
	// History returns a page of a study's events.
	History(ctx context.Context, q readmodel.HistoryQuery) (readmodel.History, error)
	// CheckPosition returns an error unless a study may be shown as of a number:
	// NotYet if it is not applied yet, Gone if the event after it is older than
	// oldest.
	CheckPosition(ctx context.Context, studyKey string, n uint64, oldest time.Time) error
	// WaitForChainHead waits until a study is applied up to head, or ctx ends.
	WaitForChainHead(ctx context.Context, studyKey string, head events.ChainHead) error
	// Head returns the head of a study, without reading a file. What Search returns
	// afterwards has this head or a later one. It reports false if the head is not
	// known, or the study is one that Outdated names.
	Head(studyKey string) (readmodel.Head, bool)
	// Report returns the newest version of a report, available or not. The error's
	// code is NotFound if there is none. It is Outdated for a report of a study that
	// Outdated names; then the Report has the study.
	Report(ctx context.Context, id string) (readmodel.Report, error)
	// Version returns the version of a report that event n of its study carries. If the
	// event is about the report and carries none, the Report is not Available. The
	// error's code is NotFound if event n is not about the report.
	Version(ctx context.Context, id string, n uint64) (readmodel.Report, error)
	// Observations returns the versions of an Observation, the available ones first.
	// Those of a study that Outdated names have no version.
	Observations(ctx context.Context, id string) ([]readmodel.Observation, error)
	// Outdated returns, by study key, the type of a study's first event that only a
	// newer version knows.
	Outdated(ctx context.Context) (map[string]string, error)
	// Directory returns the present partners, grants and keys.
	Directory() access.Directory
}

// Config has the API's optional settings.
type Config struct {
	PublicURL  string // scheme and authority of links. Defaults to http://127.0.0.1:8080
	BasePath   string // path of the API. Defaults to DefaultBasePath
	TokenURL   string // of the token endpoint. Defaults to DefaultOAuthPath on PublicURL
	Issuer     string // iss of the access tokens that are accepted. Defaults to TokenURL
	CacheBytes int64  // bound of the page cache; negative for no cache. Defaults to 64 MiB
	Count      int    // reports on a page without _count. Defaults to 50
	MaxCount   int    // largest page. Defaults to 1000
	MaxQuery   int    // largest query in bytes, decoded. Defaults to 8192

	// KeepPositions is how long links to further pages show a study as it was on the
	// first page, counted from the event after it. Defaults to an hour.
	KeepPositions time.Duration

	// The searches of a partner, those of history included, that read the model.
	Searches      int           // that run at a time. Defaults to 2
	SearchesWait  int           // that wait for one of these to end. Defaults to 16
	SearchWait    time.Duration // how long such a one waits before it is refused. Defaults to 2 s
	SearchTimeout time.Duration // how long a search runs before it is interrupted. Defaults to 5 s

	// Ready returns nil if requests can be answered, else the reason, an
	// Unavailable events.Error. Defaults to always nil.
	Ready func() error

	// Signed returns nil if all events of a study up to a chain head are signed, else the
	// reason, an Unavailable events.Error. Nothing of the study is shown then. It is called
	// for each answer, with the chain head that the answer reflects. Defaults to always nil.
	Signed func(ctx context.Context, studyKey string, head events.ChainHead) error

	Clock func() time.Time // Defaults to time.Now
}

// The paths that partners use.
const (
	DefaultBasePath  = "/msk-apim/external/v2/crit/blaze/api"
	DefaultOAuthPath = "/msk-apim/external/msk-oidc/oauth2/token"
)

// CheckSettings returns an error for settings with which New must not be called.
// Its Field is public-url, base-path or max-count. The public URL may be empty.
func CheckSettings(publicURL, basePath string, maxCount int) error {
	if u, err := url.Parse(publicURL); publicURL != "" && (err != nil || !plainURL.MatchString(publicURL) || !validPort(u.Port())) {
		return events.Fieldf("public-url", "%q must be http:// or https://, a host and, if needed, a port and a path, such as https://gateway.example.org", shorten(publicURL))
	}
	if !plainPath.MatchString(basePath) || dotSegment.MatchString(basePath) {
		return events.Fieldf("base-path", "%q must start with a slash and have only letters, digits, -._~ and single slashes, such as %s", shorten(basePath), DefaultBasePath)
	}
	if maxCount < 1 || maxCount > math.MaxInt32 {
		return events.Fieldf("max-count", "%d must be from 1 to %d", maxCount, math.MaxInt32)
	}
	return nil
}

var (
	plainURL   = regexp.MustCompile(`^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/[A-Za-z0-9._~-]+)*/?$`)
	plainPath  = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)
	dotSegment = regexp.MustCompile(`/\.\.?(/|$)`)
)

// validPort reports whether a port is absent or a number from 1 to 65535.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// API answers searches and reads. It is an http.Handler.
type API struct {
	reader  Reader
	cfg     Config
	base    string          // absolute URL of the API
	tokens  access.Verifier // of access tokens
	about   document        // the CapabilityStatement
	openAPI document        // openapi.yaml
	docs    document        // the same as a page
	pages   *pageCache
	buffers buffers

	searches partnerlimit.Limit // searches that read the model
	waiting  partnerlimit.Limit // requests that wait for a number

	reports, observations kind
	ofStudy, ofReport     []parameter         // of history
	endpoints             map[string]endpoint // by path below the base path, without an id
	metrics               metrics
}

// New returns the API over a read model.
func New(reader Reader, cfg Config) *API {
	cfg.PublicURL = strings.TrimRight(cmp.Or(cfg.PublicURL, "http://127.0.0.1:8080"), "/")
	cfg.BasePath = strings.TrimRight(cmp.Or(cfg.BasePath, DefaultBasePath), "/")
	cfg.TokenURL = cmp.Or(cfg.TokenURL, cfg.PublicURL+DefaultOAuthPath)
	cfg.Issuer = cmp.Or(cfg.Issuer, cfg.TokenURL)
	cfg.MaxCount = cmp.Or(cfg.MaxCount, 1000)
	cfg.Count = min(cmp.Or(cfg.Count, 50), cfg.MaxCount)
	cfg.CacheBytes = cmp.Or(cfg.CacheBytes, 64<<20)
	cfg.MaxQuery = cmp.Or(cfg.MaxQuery, 8192)
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Signed == nil {
		cfg.Signed = func(context.Context, string, events.ChainHead) error { return nil }
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	cfg.KeepPositions = cmp.Or(cfg.KeepPositions, time.Hour)
	cfg.Searches = cmp.Or(cfg.Searches, 2)
	cfg.SearchesWait = cmp.Or(cfg.SearchesWait, 16)
	cfg.SearchWait = cmp.Or(cfg.SearchWait, 2*time.Second)
	cfg.SearchTimeout = cmp.Or(cfg.SearchTimeout, 5*time.Second)
	base, pages := cfg.PublicURL+cfg.BasePath, newPageCache(cfg.CacheBytes)
	addresses := openapi.Addresses{PublicURL: cfg.PublicURL, Base: base, Token: cfg.TokenURL}
	a := &API{
		reader:  reader,
		cfg:     cfg,
		base:    base,
		about:   newDocument("", capabilityStatement(cfg)),
		openAPI: newDocument("application/yaml", openapi.YAML(addresses)),
		docs:    newDocument("text/html; charset=utf-8", openapi.Page(addresses)),
		pages:   pages,
		tokens:  access.Verifier{Issuer: cfg.Issuer},
		metrics: newMetrics(pages.size),

		searches: partnerlimit.Limit{Running: cfg.Searches, Waiting: cfg.SearchesWait, Wait: cfg.SearchWait},
		waiting:  partnerlimit.Limit{Running: maxWaiting},

		reports: reportKind(base), observations: observationKind(base),
		ofStudy: historyParameters(), ofReport: historyOfReportParameters(),
	}
	a.endpoints = a.fixedEndpoints()
	return a
}

// endpoint is what is served on one path.
type endpoint struct {
	route   string // in the metrics
	methods []string
	form    bool // whether the body is a form with parameters
	open    bool // whether it is answered without credentials, also while the API is not ready
	answer  answerer
}

// answerer writes the answer to a request, or writes nothing and returns an
// error.
type answerer func(w http.ResponseWriter, r *request) error

// request is a request that has been authorised, unless its endpoint is open.
type request struct {
	*http.Request
	partner     access.Partner
	pairs       []pair
	contentType string
	strict      bool
}

// ServeHTTP answers calls below the base path, and 404 on any other path. A slash
// at the end of a path makes no difference.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := a.endpoint(strings.TrimSuffix(r.URL.Path, "/"))
	began := time.Now()
	counted := rest.Counted(w)
	defer func() { a.metrics.observe(e.route, counted.Status(), time.Since(began)) }()
	q := &request{Request: r}
	if err := a.serve(counted, q, e); err != nil {
		rest.WriteError(counted, q.Request, err)
	}
}

// fixedEndpoints returns what is served on the paths without an id.
func (a *API) fixedEndpoints() map[string]endpoint {
	endpoints := map[string]endpoint{
		"/metadata":     {route: routeMetadata, methods: readOnly, open: true, answer: a.about.answer},
		"/openapi.yaml": {route: routeDocuments, methods: readOnly, open: true, answer: a.openAPI.answer},
		"/docs":         {route: routeDocuments, methods: readOnly, open: true, answer: a.docs.answer},
	}
	for path, k := range map[string]*kind{"/DiagnosticReport": &a.reports, "/Observation": &a.observations, "/observation": &a.observations} {
		endpoints[path] = endpoint{route: routeSearch, methods: readOnly, answer: a.search(k)}
		endpoints[path+"/_search"] = endpoint{route: routeSearch, methods: []string{http.MethodPost}, form: true, answer: a.search(k)}
	}
	for path, reportsOnly := range map[string]bool{"/_history": false, "/DiagnosticReport/_history": true} {
		endpoints[path] = endpoint{route: routeHistory, methods: readOnly, answer: a.history(path, reportsOnly)}
	}
	return endpoints
}

var readOnly = []string{http.MethodGet, http.MethodHead}

// endpoint returns what is served on a path, which has no slash at its end. On an
// unknown path that is an endpoint without answer.
func (a *API) endpoint(path string) endpoint {
	below, ok := strings.CutPrefix(path, a.cfg.BasePath)
	if !ok {
		return endpoint{route: routeUnknown}
	}
	if e, ok := a.endpoints[below]; ok {
		return e
	}
	return a.ofOne(strings.Split(below, "/")[1:])
}

// ofOne returns the endpoint of one report or Observation. Path has the type, the id
// and, of a report, possibly _history and a number. The type may be written
// observation, as in the paths of searches.
func (a *API) ofOne(path []string) endpoint {
	if len(path) < 2 || len(path) > 4 || slices.Contains(path, "") {
		return endpoint{route: routeUnknown}
	}
	id := path[1]
	if strings.EqualFold(path[0], "Observation") && len(path) == 2 && (path[0][1:] == "bservation") {
		return endpoint{route: routeRead, methods: readOnly, answer: func(w http.ResponseWriter, r *request) error { return a.readObservation(w, r, id) }}
	}
	switch {
	case path[0] != "DiagnosticReport" || len(path) > 2 && path[2] != "_history":
		return endpoint{route: routeUnknown}
	case len(path) == 2:
		return endpoint{route: routeRead, methods: readOnly, answer: func(w http.ResponseWriter, r *request) error { return a.read(w, r, id) }}
	case len(path) == 3:
		return endpoint{route: routeHistory, methods: readOnly, answer: func(w http.ResponseWriter, r *request) error { return a.historyOfReport(w, r, id) }}
	default:
		return endpoint{route: routeRead, methods: readOnly, answer: func(w http.ResponseWriter, r *request) error { return a.readVersion(w, r, id, path[3]) }}
	}
}

// serve checks what all calls have in common, in the order of the contract:
// method, credentials, format, form and size. The form is read before the partner id is
// checked, because it may contain that; an error of the form is returned after those of
// the credentials and the format. An open endpoint needs only the method.
func (a *API) serve(w http.ResponseWriter, r *request, e endpoint) error {
	if e.answer == nil {
		return events.Errorf(events.NotFound, "Nothing is served on this path.")
	}
	if !slices.Contains(e.methods, r.Method) {
		allow := strings.Join(e.methods, ", ")
		w.Header().Set("Allow", allow)
		return events.Errorf(events.MethodNotAllowed, "This path supports only the methods %s.", allow)
	}
	if e.open {
		return e.answer(w, r)
	}
	if err := a.cfg.Ready(); err != nil {
		return err
	}
	if err := a.authenticate(w, r); err != nil {
		return err
	}
	var formErr error
	if e.form {
		formErr = a.addForm(w, r)
	}
	r.pairs = splitQuery(r.URL.RawQuery)
	if err := checkPartnerID(r); err != nil {
		return err
	}
	rest.SetPartner(r.Context(), r.partner.ID)
	var err error
	if r.contentType, err = rest.Negotiate(r.Request); err != nil {
		return err
	}
	if formErr != nil {
		return formErr
	}
	if size := sizeOf(r.pairs); size > a.cfg.MaxQuery {
		return events.Errorf(events.TooLarge, "The query has %d bytes; at most %d are allowed.", size, a.cfg.MaxQuery)
	}
	if preferences := r.Header["Prefer"]; preferences != nil {
		r.strict = strings.EqualFold(rest.Prefers(preferences, "handling"), "strict")
	}
	return e.answer(w, r)
}
