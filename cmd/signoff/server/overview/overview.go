// Package overview serves the operator's page: one page that shows whether sign-offs reach
// the partners, what stopped, and what to do about it. The same facts are /overview.json.
//
// The page only reads. It names no subject, value, physician, client address, path or
// process id, because whoever may see it need not be allowed to see those. It works without
// script, by reloading; with script it follows the server.
package overview

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// maxStreams bounds how many pages follow the server at a time.
const maxStreams = 16

// Config of an Overview.
type Config struct {
	// Clock defaults to time.Now.
	Clock func() time.Time

	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Overview is the operator's page.
type Overview struct {
	sources Sources
	cfg     Config
	started time.Time

	mu          sync.Mutex // held while the facts are read
	facts       Facts      // that were read last
	begun       time.Time  // when that reading began
	incidents   incidents
	connections connections

	streams chan struct{} // has a value for each open stream
	stopped chan struct{} // closed by Stop
	stop    func()
}

// New returns an Overview of what sources return.
func New(sources Sources, cfg Config) *Overview {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	o := &Overview{
		sources: sources, cfg: cfg, started: cfg.Clock(),
		streams: make(chan struct{}, maxStreams), stopped: make(chan struct{}),
	}
	o.stop = sync.OnceFunc(func() { close(o.stopped) })
	return o
}

// Stop ends the streams, so that the server can shut down.
func (o *Overview) Stop() { o.stop() }

// Register adds the page, its assets, its stream and /overview.json to mux.
func (o *Overview) Register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", withHeaders(o.html))
	mux.Handle("GET /overview.json", withHeaders(o.json))
	mux.Handle("GET /live", withHeaders(o.live))
	for _, a := range []page.Asset{style, script, page.Icon} {
		mux.Handle("GET "+a.Path, withHeaders(a.ServeHTTP))
	}
}

// withHeaders returns h with the headers of the desk, by which a browser loads nothing from
// elsewhere, runs no script but ours, and shows the page in no frame.
func withHeaders(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.SetHeaders(w.Header())
		h(w, r)
	})
}

// readTimeout bounds the reading of the facts.
const readTimeout = 5 * time.Second

// html answers with the page.
func (o *Overview) html(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if err := o.read(r.Context()).WriteHTML(&body); err != nil {
		o.cfg.Log.Error("cannot make the overview", "error", err)
		http.Error(w, "the overview cannot be made; see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = body.WriteTo(w) // fails only if the client has gone away
}

// json answers with the facts.
func (o *Overview) json(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(o.read(r.Context())) // fails only if the client has gone away
}

// read returns facts of which the reading began after the call. Requests that wait while
// the facts are read share the next reading, so that many pages cost as much as two.
func (o *Overview) read(ctx context.Context) Facts {
	called := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun.After(called) {
		return o.facts
	}
	o.begun = time.Now()
	// The facts are for others too, so they are read to the end if this client goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	o.facts = o.readFacts(ctx)
	return o.facts
}
