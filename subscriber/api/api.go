package api

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Reader is the part of the read model that the API uses.
type Reader interface {
	// Search returns a page of a study's available reports. The error's code is
	// Outdated for a study that Outdated names.
	Search(ctx context.Context, q readmodel.Query) (readmodel.Page, error)
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
	PublicURL string // scheme and authority of links. Defaults to http://127.0.0.1:8080
	BasePath  string // path of the API. Defaults to DefaultBasePath
	Count     int    // reports on a page without _count. Defaults to 50
	MaxCount  int    // largest page. Defaults to 1000
	MaxQuery  int    // largest query in bytes, decoded. Defaults to 8192

	// Ready returns nil if requests can be answered, else the reason, an
	// Unavailable events.Error. Defaults to always nil.
	Ready func() error

	Clock func() time.Time // Defaults to time.Now
}

// DefaultBasePath is the path that partners use.
const DefaultBasePath = "/msk-apim/external/v2/crit/blaze/api"

const resourceType = "/DiagnosticReport"

// API answers searches and reads. It is an http.Handler.
type API struct {
	reader  Reader
	cfg     Config
	base    string          // absolute URL of the resource type
	tokens  access.Verifier // of access tokens
	buffers sync.Pool
	metrics metrics
}

// New returns the API over a read model.
func New(reader Reader, cfg Config) *API {
	cfg.PublicURL = strings.TrimRight(cmp.Or(cfg.PublicURL, "http://127.0.0.1:8080"), "/")
	cfg.BasePath = strings.TrimRight(cmp.Or(cfg.BasePath, DefaultBasePath), "/")
	cfg.MaxCount = cmp.Or(cfg.MaxCount, 1000)
	cfg.Count = min(cmp.Or(cfg.Count, 50), cfg.MaxCount)
	cfg.MaxQuery = cmp.Or(cfg.MaxQuery, 8192)
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &API{
		reader:  reader,
		cfg:     cfg,
		base:    cfg.PublicURL + cfg.BasePath + resourceType,
		buffers: sync.Pool{New: func() any { return new([]byte) }},
		metrics: newMetrics(),
	}
}

// ServeHTTP answers GET and HEAD of {base}/DiagnosticReport and of
// {base}/DiagnosticReport/{id}, and 404 on any other path.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, answer := a.route(r.URL.Path)
	began := time.Now()
	counted := rest.Counted(w)
	defer func() { a.metrics.observe(route, counted.Status(), time.Since(began)) }()
	if err := a.serve(counted, r, answer); err != nil {
		rest.WriteError(counted, r, err)
	}
}

// answerer writes the answer to an authorised request, or writes nothing and
// returns an error.
type answerer func(w http.ResponseWriter, r *request) error

func (a *API) route(path string) (string, answerer) {
	below, ok := strings.CutPrefix(path, a.cfg.BasePath+resourceType)
	id, isRead := strings.CutPrefix(below, "/")
	switch {
	case ok && below == "":
		return routeSearch, a.search
	case ok && isRead && id != "" && !strings.Contains(id, "/"):
		return routeRead, func(w http.ResponseWriter, r *request) error { return a.read(w, r, id) }
	default:
		return routeUnknown, nil
	}
}

// request is an authorised request.
type request struct {
	*http.Request
	partner     access.Partner
	pairs       []pair
	contentType string
	strict      bool
}

// serve checks what all calls have in common, in the order of the contract:
// method, credentials, format and size.
func (a *API) serve(w http.ResponseWriter, r *http.Request, answer answerer) error {
	if answer == nil {
		return events.Errorf(events.NotFound, "Nothing is served on this path.")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return events.Errorf(events.MethodNotAllowed, "Only GET and HEAD are offered here.")
	}
	if err := a.cfg.Ready(); err != nil {
		return err
	}
	pairs := splitQuery(r.URL.RawQuery)
	partner, err := a.authorize(r, pairs)
	if err != nil {
		return err
	}
	rest.SetPartner(r.Context(), partner.ID)
	contentType, err := rest.Negotiate(r)
	if err != nil {
		return err
	}
	if size := sizeOf(pairs); size > a.cfg.MaxQuery {
		return events.Errorf(events.TooLarge, "The query has %d bytes; at most %d are allowed.", size, a.cfg.MaxQuery)
	}
	return answer(w, &request{Request: r, partner: partner, pairs: pairs, contentType: contentType, strict: prefersStrict(r)})
}

// prefersStrict reports whether the request asks that unknown parameters be
// refused (Prefer: handling=strict, RFC 7240).
func prefersStrict(r *http.Request) bool {
	for _, header := range r.Header.Values("Prefer") {
		for preference := range strings.SplitSeq(header, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			if strings.EqualFold(strings.TrimSpace(name), "handling") {
				value, _, _ = strings.Cut(value, ";")
				return strings.EqualFold(strings.Trim(value, " \t\""), "strict")
			}
		}
	}
	return false
}
