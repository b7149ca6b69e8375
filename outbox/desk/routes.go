package desk

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
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
		{Route{"POST /session", false}, d.renewSession},
		{Route{"GET /password", true}, d.showPassword},
		{Route{"POST /password", true}, d.choosePassword},

		{Route{"GET /{$}", true}, d.home},

		{Route{"GET /waiting", false}, d.waiting},
		{Route{"GET /find", false}, d.find},
		{Route{"POST /find", false}, d.find},
		{Route{"GET /signed", false}, d.signed},
		{Route{"GET /studies", false}, d.studies},
		{Route{"GET /studies/{key}", false}, d.study},
		{Route{"GET /history", false}, d.history},

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
	ended   string // why the session of the cookie has ended; empty if there is none
}

// signedIn reports whether the request has a session.
func (q *request) signedIn() bool { return q.session != nil }

// maxForm bounds the size of a form.
const maxForm = 64 << 10

// handler returns what serves a route: it finds the session, refuses forms of other origins,
// and makes a page of an error or a panic.
func (d *Desk) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{Request: r, now: d.cfg.Clock(), address: d.cfg.TrustedProxies.Of(r)}
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
		return &events.Error{Code: events.Forbidden, Message: "A page of another origin has sent this. Nothing was done.", Err: err}
	}
	if d.misdirected(q.Request) {
		return &events.Error{Code: events.Invalid, Message: "The request is for another server.", Err: errMisdirected}
	}
	if q.Method == http.MethodPost {
		if err := d.readForm(w, q.Request); err != nil {
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
	default:
		q.ended = ended.Reason
	}
	return rt.serve(w, q)
}

// misdirected reports whether a request names another server in its first line, as one to a
// proxy does. The header Host is not looked at, because a proxy before the desk may change it.
func (d *Desk) misdirected(r *http.Request) bool {
	if r.URL.Host == "" {
		return false
	}
	own, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	public, err := url.Parse(d.cfg.URL)
	return (own == nil || r.URL.Host != own.String()) && (err != nil || r.URL.Host != public.Host)
}

// readForm parses the form in the body of a request, which has to arrive in time.
func (d *Desk) readForm(w http.ResponseWriter, r *http.Request) error {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.ContentLength != 0 && !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return events.Errorf(events.UnsupportedMedia, "A form is sent as application/x-www-form-urlencoded.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(d.cfg.FormWithin)) // without it, the server's limit for the whole request holds
	err := r.ParseForm()
	if err == nil {
		_ = connection.SetReadDeadline(time.Time{}) // the server would take its end for that of the client
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return events.Errorf(events.TooLarge, "The form is larger than %d bytes.", large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &events.Error{Code: events.Invalid, Message: fmt.Sprintf("The form has not arrived within %v. Nothing was done.", d.cfg.FormWithin), Err: err}
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
	// The sign-in and the stream are no activity either: a page that was left alone asks
	// for them.
	activity := q.Header.Get(liveHeader) == "" && q.URL.Path != livePath && q.URL.Path != signInPath
	q.session, q.pi, err = d.sessions.Resume(q.Context(), cookie.Value, activity)
	if ended := (session.EndedError{}); errors.As(err, &ended) && ended.Reason == "" {
		return session.EndedError{Reason: accounts.SessionShutdown} // the most likely reason for which nothing is known of it
	}
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
// that was sent without a session is lost: the sign-in says so, and leads back to its page.
func (d *Desk) sendToSignIn(w http.ResponseWriter, q *request, ended session.EndedError) error {
	query := url.Values{}
	if q.Method == http.MethodPost {
		query.Set("lost", "1")
		if from, err := url.Parse(q.Referer()); err == nil && from.Host == q.Host {
			query.Set("next", localPath(from.RequestURI()))
		}
	} else {
		query.Set("next", localPath(q.URL.RequestURI()))
	}
	if ended.Reason != "" {
		query.Set("ended", ended.Reason)
	}
	http.Redirect(w, q.Request, signInPath+"?"+query.Encode(), http.StatusSeeOther)
	return nil
}

// frame returns the frame of a page.
func (d *Desk) frame(q *request, section, title string, data any) page.Frame {
	f := page.Frame{Title: title, Section: section, Waiting: -1, Now: q.now, IdleAfter: d.sessions.IdleAfter(), Data: data}
	if q.signedIn() {
		f.Name, f.Until, f.Waiting = q.pi.Name, d.sessions.Until(q.session), d.countWaiting(q)
	}
	return f
}

// home sends to the page of what waits.
func (d *Desk) home(w http.ResponseWriter, q *request) error {
	http.Redirect(w, q.Request, "/waiting", http.StatusSeeOther)
	return nil
}

// Paths that are no activity of a PI.
const (
	livePath   = "/live" // the stream of events
	signInPath = "/sign-in"
)
