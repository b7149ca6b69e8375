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
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Reader is the part of the read model that the API uses.
type Reader interface {
	// Search returns a page of a study's available reports. The error's code is
	// Outdated for a study that Outdated names.
	Search(ctx context.Context, q readmodel.Query) (readmodel.Page, error)
	// Head returns the head of a study, without reading a file. What Search returns
	// afterwards has this head or a later one. It reports false if the head is not
	// known, or the study is one that Outdated names.
	Head(studyKey string) (readmodel.Head, bool)
	// Report returns the newest version of a report, available or not. The error's
	// code is NotFound if there is none. It is Outdated for a report of a study that
	// Outdated names; then the Report has the study.
	Report(ctx context.Context, id string) (readmodel.Report, error)
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
	CacheBytes int64  // bound of the page cache; negative for no cache. Defaults to 64 MiB
	Count      int    // reports on a page without _count. Defaults to 50
	MaxCount   int    // largest page. Defaults to 1000
	MaxQuery   int    // largest query in bytes, decoded. Defaults to 8192

	// Ready returns nil if requests can be answered, else the reason, an
	// Unavailable events.Error. Defaults to always nil.
	Ready func() error

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

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

const resourceType = "/DiagnosticReport"

// API answers searches and reads. It is an http.Handler.
type API struct {
	reader  Reader
	cfg     Config
	base    string          // absolute URL of the resource type
	tokens  access.Verifier // of access tokens
	about   document        // the CapabilityStatement
	openAPI document        // openapi.yaml
	docs    document        // the same as a page
	table   []parameter     // of a search
	pages   *pageCache
	metrics metrics
}

// New returns the API over a read model.
func New(reader Reader, cfg Config) *API {
	cfg.PublicURL = strings.TrimRight(cmp.Or(cfg.PublicURL, "http://127.0.0.1:8080"), "/")
	cfg.BasePath = strings.TrimRight(cmp.Or(cfg.BasePath, DefaultBasePath), "/")
	cfg.TokenURL = cmp.Or(cfg.TokenURL, cfg.PublicURL+DefaultOAuthPath)
	cfg.MaxCount = cmp.Or(cfg.MaxCount, 1000)
	cfg.Count = min(cmp.Or(cfg.Count, 50), cfg.MaxCount)
	cfg.CacheBytes = cmp.Or(cfg.CacheBytes, 64<<20)
	cfg.MaxQuery = cmp.Or(cfg.MaxQuery, 8192)
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	pages := newPageCache(cfg.CacheBytes)
	addresses := openapi.Addresses{PublicURL: cfg.PublicURL, Base: cfg.PublicURL + cfg.BasePath, Token: cfg.TokenURL}
	return &API{
		reader:  reader,
		cfg:     cfg,
		base:    cfg.PublicURL + cfg.BasePath + resourceType,
		about:   newDocument("", capabilityStatement(cfg)),
		openAPI: newDocument("application/yaml", openapi.YAML(addresses)),
		docs:    newDocument("text/html; charset=utf-8", openapi.Page(addresses)),
		table:   searchParameters(),
		pages:   pages,
		metrics: newMetrics(pages.size),
	}
}

// endpoint is what is served on one path.
type endpoint struct {
	route   string // in the metrics
	methods []string
	form    bool // whether the body is a form with parameters
	open    bool // whether it needs no credentials
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

var readOnly = []string{http.MethodGet, http.MethodHead}

func (a *API) endpoint(path string) endpoint {
	below, ok := strings.CutPrefix(path, a.cfg.BasePath)
	if !ok {
		return endpoint{route: routeUnknown}
	}
	switch below {
	case resourceType:
		return endpoint{route: routeSearch, methods: readOnly, answer: a.search}
	case resourceType + "/_search":
		return endpoint{route: routeSearch, methods: []string{http.MethodPost}, form: true, answer: a.search}
	case "/metadata":
		return endpoint{route: routeMetadata, methods: readOnly, open: true, answer: a.about.answer}
	case "/openapi.yaml":
		return endpoint{route: routeDocuments, methods: readOnly, open: true, answer: a.openAPI.answer}
	case "/docs":
		return endpoint{route: routeDocuments, methods: readOnly, open: true, answer: a.docs.answer}
	}
	if id, ok := strings.CutPrefix(below, resourceType+"/"); ok && id != "" && !strings.Contains(id, "/") {
		return endpoint{route: routeRead, methods: readOnly, answer: func(w http.ResponseWriter, r *request) error { return a.read(w, r, id) }}
	}
	return endpoint{route: routeUnknown}
}

// serve checks what all calls have in common, in the order of the contract:
// method, credentials, format, size and media type.
func (a *API) serve(w http.ResponseWriter, r *request, e endpoint) error {
	if e.answer == nil {
		return events.Errorf(events.NotFound, "Nothing is served on this path.")
	}
	if !slices.Contains(e.methods, r.Method) {
		allow := strings.Join(e.methods, ", ")
		w.Header().Set("Allow", allow)
		return events.Errorf(events.MethodNotAllowed, "Only %s is offered here.", allow)
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
	r.strict = strings.EqualFold(rest.Prefers(r.Header.Values("Prefer"), "handling"), "strict")
	return e.answer(w, r)
}
