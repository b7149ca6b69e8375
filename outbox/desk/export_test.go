package desk

import (
	"io"
	"net/http"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// Fail serves a further page, which answers with an error, or panics if err is nil.
func (d *Desk) Fail(path string, err error) {
	d.mux.Handle("GET "+path, d.handler(route{Route: Route{Pattern: "GET " + path, Open: true}, serve: func(http.ResponseWriter, *request) error {
		if err == nil {
			panic("of a test")
		}
		return err
	}}))
}

// ServeChanged makes the desk answer GET on the pattern like a form that was refused because
// its case has changed. The query is the form.
func (d *Desk) ServeChanged(pattern string) {
	d.mux.Handle(pattern, d.handler(route{Route{pattern, false}, func(w http.ResponseWriter, q *request) error {
		c, err := d.readCase(q)
		if err != nil {
			return err
		}
		p := problem(page.ProblemItem{Text: "Look at it as it is now."})
		p.Title = "This case changed; nothing was signed"
		return d.writeCase(w, q, http.StatusPreconditionFailed, c, p, q.URL.Query(), "an earlier stamp")
	}}))
}

// ExecuteCase returns a function that executes the template of the page of a case on data
// that are ready.
func (d *Desk) ExecuteCase(r *http.Request, number int32) (func() error, error) {
	q := &request{Request: r, now: d.cfg.Clock()}
	var err error
	if q.session, q.pi, err = d.sessions.Resume(r.Context(), r.Cookies()[0].Value, true); err != nil {
		return nil, err
	}
	c, err := d.outbox.Reviews().Case(r.Context(), q.pi.Studies[0], number)
	if err != nil {
		return nil, err
	}
	v, err := d.newCasePage(q, c, nil, nil, "")
	if err != nil {
		return nil, err
	}
	f := d.frame(q, "waiting", "Subject "+c.Subject, v)
	return func() error { return pages["case"].ExecuteTemplate(io.Discard, "layout", f) }, nil
}
