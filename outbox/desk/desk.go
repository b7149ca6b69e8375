// Package desk serves the pages on which PIs see what waits for their sign-off, sign it,
// withdraw it or return it to its source.
//
// The pages work without script. Whoever is signed in has a session; see package session.
// Grants are looked up at each request, and what is not granted has the same answer as what
// does not exist. A signature asks for the password again (21 CFR 11.200). It covers exactly
// what the page showed: the form has the stamp of the case and the digest of each version.
//
// Package api, on the same listener, is the interface for programs. It reads no cookies, and
// the pages read no header Authorization.
package desk

import (
	"cmp"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
)

//go:embed templates/*.tmpl
var templates embed.FS

var pages = func() page.Set {
	dir, err := fs.Sub(templates, "templates")
	if err != nil {
		panic(err)
	}
	return page.Parse(dir)
}()

// Config has the optional settings of a Desk.
type Config struct {
	// URL is the public origin of the desk, such as https://desk.example.org. Forms that a
	// browser sends from there are accepted. Defaults to none, which is right without a
	// proxy.
	URL string

	// TrustedProxies are the proxies whose X-Forwarded-For is believed. Defaults to none.
	TrustedProxies clientaddress.Proxies

	// Metrics count requests, sign-ins, signatures and streams. Their owner registers them.
	// Defaults to metrics that nobody reads.
	Metrics *metrics.Metrics

	// MaxStreams is how many pages may follow what happens at the same time. Each has a
	// connection, so it is less than the server may have. Defaults to 128.
	MaxStreams int

	// FormWithin is how long a form may take to arrive. Defaults to 10 s, which is enough
	// for the largest over a slow line.
	FormWithin time.Duration

	Sessions session.Config
	Clock    func() time.Time // Defaults to time.Now.
	Log      *slog.Logger     // Defaults to slog.Default().
}

// Desk serves the pages. It is an http.Handler.
type Desk struct {
	outbox   *outbox.Outbox
	sessions *session.Sessions
	cfg      Config
	routes   []route
	mux      *http.ServeMux
	crossing *http.CrossOriginProtection

	streams streams

	// contradicting has how many versions that wait contradict RECIST 1.1, by the stamp of
	// their case.
	contradicting *lru.Cache[string, int]

	stopped chan struct{} // closed by Stop
	stop    func()
}

// New returns the desk of an outbox. The error is about Config.URL.
func New(o *outbox.Outbox, cfg Config) (*Desk, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New()
	}
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 128)
	cfg.FormWithin = cmp.Or(cfg.FormWithin, 10*time.Second)
	if cfg.Sessions.Log == nil {
		cfg.Sessions.Log = cfg.Log
	}
	if cfg.Sessions.Clock == nil {
		cfg.Sessions.Clock = cfg.Clock
	}
	d := &Desk{
		outbox: o, cfg: cfg, sessions: session.New(o.Accounts(), cfg.Sessions),
		mux: http.NewServeMux(), crossing: http.NewCrossOriginProtection(), stopped: make(chan struct{}),
		streams: streams{max: cfg.MaxStreams, ofUser: make(map[string]int)},
	}
	d.contradicting, _ = lru.New[string, int](8 * maxChecked) // fails only for a size of 0
	d.stop = sync.OnceFunc(func() { close(d.stopped) })
	if cfg.URL != "" {
		if err := d.crossing.AddTrustedOrigin(cfg.URL); err != nil {
			return nil, err
		}
	}
	d.routes = d.allRoutes()
	for _, r := range d.routes {
		d.mux.Handle(r.Pattern, d.handler(r))
	}
	d.mux.HandleFunc("GET "+page.ForgetPath, page.Forget)
	for _, a := range page.Assets() {
		d.mux.Handle("GET "+a.Path, a)
	}
	d.mux.Handle("/", d.handler(route{Route: Route{Pattern: "/", Open: true}, serve: d.notFound}))
	return d, nil
}

// Sessions returns the sessions of the PIs who are signed in. Its Run is the caller's to
// call.
func (d *Desk) Sessions() *session.Sessions { return d.sessions }

// Stop ends the streams of events, so that the server can shut down.
func (d *Desk) Stop() { d.stop() }

// assetRoute is the route of the metric for all assets.
const assetRoute = "/assets"

// ServeHTTP answers a request.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counted := rest.Counted(w)
	defer func() {
		_, route, _ := strings.Cut(r.Pattern, " ") // set by the mux; that of the last resort has no method
		switch {
		case route == "":
			route = metrics.UnknownRoute
		case strings.HasPrefix(route, assetRoute+"/"):
			route = assetRoute
		}
		d.cfg.Metrics.CountRequest(strings.TrimSuffix(route, "{$}"), counted.Status())
	}()
	page.SetHeaders(counted.Header())
	if d.strict(r) {
		counted.Header().Set("Strict-Transport-Security", "max-age=31536000")
	}
	d.mux.ServeHTTP(counted, r)
}

// strict reports whether browsers may be told to call this host over TLS only. That holds
// for all ports of the host, so it is said only where the desk has the port of https.
func (d *Desk) strict(r *http.Request) bool {
	if u, err := url.Parse(d.cfg.URL); err == nil && u.Scheme == "https" {
		return u.Port() == "" || u.Port() == "443"
	}
	u := url.URL{Host: r.Host}
	return r.TLS != nil && (u.Port() == "" || u.Port() == "443")
}
