package desk

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
)

// Route is a page, or what a form is sent to.
type Route struct {
	Pattern string // of http.ServeMux, with the method
	Open    bool   // also for those who are not signed in
}

// route is a Route with what answers it.
type route struct {
	Route

	// serve answers, or writes nothing and returns an error.
	serve func(http.ResponseWriter, *request) error
}

// allRoutes returns the routes of the desk.
func (d *Desk) allRoutes() []route {
	return []route{
		{Route{"GET /sign-in", true}, d.showSignIn},
		{Route{"POST /sign-in", true}, d.signIn},
		{Route{"POST /sign-out", true}, d.signOut},
		{Route{"GET /{$}", true}, d.home},
		{Route{"GET /waiting", false}, d.waiting},

		{Route{"GET /cases/{key}/{case}", false}, d.showCase},

		{Route{"POST /cases/{key}/{case}/sign-off", false}, d.signOff},
		{Route{"POST /cases/{key}/{case}/return", false}, d.returnToSource},
		{Route{"GET /assessments/{id}", false}, d.assessment},
		{Route{"POST /assessments/{id}/withdrawal", false}, d.withdraw},
		{Route{"GET " + livePath, false}, d.live},
	}
}

// Routes returns the routes of all pages and forms.
func (d *Desk) Routes() []Route {
	routes := make([]Route, len(d.routes))
	for i, r := range d.routes {
		routes[i] = r.Route
	}
	return routes
}

// request is a request with who sent it.
type request struct {
	*http.Request
	address string // of the browser
	now     time.Time

	// Of the session; zero if there is none.
	session *session.Session
	pi      accounts.Standing
}

// signedIn reports whether the request has a session.
func (q *request) signedIn() bool { return q.session != nil }

// maxForm bounds the size of a form.
const maxForm = 64 << 10

// handler returns what serves a route: it finds the session, refuses forms of other origins,
// and makes a page of an error or a panic.
func (d *Desk) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{Request: r, now: d.cfg.Clock(), address: d.address(r)}
		q.Request = r.WithContext(outbox.WithAddress(r.Context(), q.address))
		defer func() {
			if cause := recover(); cause != nil {
				d.panicked(w, q, cause)
			}
		}()
		if err := d.serve(w, q, rt); err != nil {
			d.fail(w, q, err)
		}
	})
}

func (d *Desk) serve(w http.ResponseWriter, q *request, rt route) error {
	if err := d.crossing.Check(q.Request); err != nil {
		return &events.Error{Code: events.Forbidden, Message: "A page of another origin may not send this.", Err: err}
	}
	if q.Method == http.MethodPost {
		if err := readForm(w, q.Request); err != nil {
			return err
		}
	}
	err := d.resume(q)
	var ended session.EndedError
	switch {
	case err == nil:
	case !errors.As(err, &ended):
		return err
	case q.URL.Path == livePath: // a stream follows no redirect to a page
		return &events.Error{Code: events.Unauthenticated, Message: "Sign in first.", Err: err}
	case !rt.Open:
		return d.sendToSignIn(w, q, ended)
	}
	return rt.serve(w, q)
}

// readForm parses the form in the body of a request.
func readForm(w http.ResponseWriter, r *http.Request) error {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.ContentLength != 0 && !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return events.Errorf(events.UnsupportedMedia, "A form is sent as application/x-www-form-urlencoded.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return events.Errorf(events.TooLarge, "The form is larger than %d bytes.", large.Limit)
	case err != nil:
		return &events.Error{Code: events.Invalid, Message: "The form cannot be read.", Err: err}
	}
	return nil
}

// cookieName has the prefix with which browsers accept the cookie only over TLS or loopback,
// for this host and for all paths.
const cookieName = "__Host-desk"

// liveHeader marks a request that the script makes by itself. It is no activity of the PI.
const liveHeader = "X-Live"

// resume finds the session of a request. The error is a session.EndedError if it has none.
func (d *Desk) resume(q *request) (err error) {
	cookie, err := q.Cookie(cookieName)
	if err != nil {
		return session.EndedError{}
	}
	activity := q.Header.Get(liveHeader) == "" && q.URL.Path != livePath
	q.session, q.pi, err = d.sessions.Resume(q.Context(), cookie.Value, activity)
	return err
}

// setCookie sets the cookie of a session, or deletes it if value is empty.
func setCookie(w http.ResponseWriter, value string) {
	c := &http.Cookie{Name: cookieName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// sendToSignIn redirects to the sign-in, from where the PI comes back to this page. A form
// that was sent without a session is lost; the page says so.
func (d *Desk) sendToSignIn(w http.ResponseWriter, q *request, ended session.EndedError) error {
	query := url.Values{}
	if q.Method == http.MethodGet {
		query.Set("next", q.URL.RequestURI())
	}
	if ended.Reason != "" {
		query.Set("ended", ended.Reason)
	}
	target := "/sign-in"
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	http.Redirect(w, q.Request, target, http.StatusSeeOther)
	return nil
}

// frame returns the frame of a page.
func (d *Desk) frame(q *request, section, title string, data any) page.Frame {
	f := page.Frame{Title: title, Section: section, Waiting: -1, Now: q.now, IdleAfter: d.sessions.IdleAfter(), Data: data}
	if q.signedIn() {
		f.Name, f.Until = q.pi.Name, d.sessions.Until(q.session)
	}
	return f
}

// home sends to the page of what waits.
func (d *Desk) home(w http.ResponseWriter, q *request) error {
	http.Redirect(w, q.Request, "/waiting", http.StatusSeeOther)
	return nil
}

// livePath is the path of the stream of events.
const livePath = "/live"
