package desk

import (
	"cmp"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk/metrics"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// signInPage is what the page of the sign-in shows.
type signInPage struct {
	User     string // typed before
	Next     string // where to go after the sign-in
	Ended    string // why the last session ended, as in package accounts; empty if it does not matter
	Lost     bool   // a form was sent without a session, and nothing was done
	Continue bool   // the PI is signed in, in another tab
	NoCookie noCookie
}

// noCookie is why a browser does not send the cookie of the session.
type noCookie struct {
	Found bool
	Host  string // to which the browser speaks plain text; empty if it does not
	URL   string // of the desk, if it is known
}

// showSignIn answers with the sign-in. Who is signed in is sent on.
func (d *Desk) showSignIn(w http.ResponseWriter, q *request) error {
	query := q.URL.Query()
	data := signInPage{Next: localPath(query.Get("next")), Ended: cmp.Or(q.ended, query.Get("ended")), Lost: query.Has("lost")}
	switch {
	case q.signedIn() && data.Ended == accounts.SessionIdle:
		// A page that was left alone has led here, while another tab was used. To be sent on
		// would be an activity of nobody, and keep the session alive for ever.
		data.Ended, data.Continue = "", true
	case q.signedIn():
		http.Redirect(w, q.Request, data.Next, http.StatusSeeOther)
		return nil
	case query.Has("begun"):
		data.NoCookie = noCookie{Found: true, Host: plainHost(q.Request), URL: d.cfg.URL}
		return d.writeSignIn(w, q, http.StatusBadRequest, data, nil)
	}
	if data.Ended != "" { // Back must show no case
		w.Header().Set("Clear-Site-Data", `"cache"`)
	}
	if q.ended != "" {
		setCookie(w, "")
	}
	return d.writeSignIn(w, q, http.StatusOK, data, nil)
}

// plainHost returns the host to which the browser speaks plain text over a network, or "".
func plainHost(r *http.Request) string {
	name := r.Host
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		name = host
	}
	address, _ := netip.ParseAddr(strings.Trim(name, "[]"))
	if r.TLS != nil || strings.HasPrefix(r.Referer(), "https://") ||
		name == "localhost" || strings.HasSuffix(name, ".localhost") || address.Unmap().IsLoopback() {
		return ""
	}
	return r.Host
}

func (d *Desk) writeSignIn(w http.ResponseWriter, q *request, status int, data signInPage, p *page.Problem) error {
	f := d.frame(q, "", "Sign in", data)
	f.Name, f.Problem = "", p
	return pages.Write(w, status, "signin", f)
}

// signIn begins a session.
func (d *Desk) signIn(w http.ResponseWriter, q *request) error {
	user, next := q.PostFormValue("user"), localPath(q.PostFormValue("next"))
	pi, err := d.outbox.Accounts().Authenticate(q.Context(), user, q.PostFormValue("password"), q.address)
	switch events.CodeOf(err) {
	case "":
		outcome := metrics.SignedIn
		if err = d.begin(w, q, pi.User, pi.Credential, next); err != nil {
			outcome = metrics.SignInFailed
		}
		d.cfg.Metrics.CountSignIn(outcome)
		if events.CodeOf(err) != events.Unauthenticated {
			return err
		} // else the password was changed since it was checked
	case events.Forbidden:
		d.cfg.Metrics.CountSignIn(metrics.SignInOneTime)
		http.Redirect(w, q.Request, "/password?"+url.Values{"one-time": {"1"}, "next": {next}}.Encode(), http.StatusSeeOther)
		return nil
	case events.Unauthenticated:
		d.cfg.Metrics.CountSignIn(metrics.SignInRefused)
	case events.Throttled:
		d.cfg.Metrics.CountSignIn(metrics.SignInThrottled)
	default:
		d.cfg.Metrics.CountSignIn(metrics.SignInFailed)
		return err
	}
	status, _ := rest.StatusOf(err)
	setRetryAfter(w, status, err)
	return d.writeSignIn(w, q, status, signInPage{User: user, Next: next}, problem(page.ProblemItem{Field: "user", Text: refusal(err, "user name or the password")}))
}

// refusal returns the sentences for a sign-in that was refused. What names the part of it
// that may be wrong.
func refusal(err error, what string) string {
	locked := "It is locked on this computer for " + page.Count(minutes(waitOf(err)), "minute") + "."
	switch wait := waitOf(err); {
	case events.CodeOf(err) == events.Throttled && wait < time.Minute: // too many passwords are checked, too
		return "Too many attempts at this moment. Try again shortly."
	case events.CodeOf(err) == events.Throttled:
		return "This name was used with a wrong password too often. " + locked
	case wait > 0:
		return "The " + what + " is wrong, for the fifth time. " + locked
	}
	return "The " + what + " is wrong."
}

// begin begins a session of a PI who has just given the password, and redirects to a page.
// It does so by way of the sign-in, which redirects whoever is signed in, and explains the
// matter where the browser does not return the cookie. The credential is that of the
// password; see session.Sessions.Begin.
func (d *Desk) begin(w http.ResponseWriter, q *request, user, credential, next string) error {
	_, cookie, err := d.sessions.Begin(q.Context(), user, credential, q.address)
	if err != nil {
		return err
	}
	if q.signedIn() { // a form that was open in another tab
		d.sessions.End(q.Context(), q.session, accounts.SessionReplaced)
	}
	setCookie(w, cookie)
	http.Redirect(w, q.Request, signInPath+"?"+url.Values{"begun": {"1"}, "next": {next}}.Encode(), http.StatusSeeOther)
	return nil
}

// signOut ends the session.
func (d *Desk) signOut(w http.ResponseWriter, q *request) error {
	if q.signedIn() {
		d.sessions.End(q.Context(), q.session, accounts.SessionSignedOut)
	}
	return d.leave(w, q, accounts.SessionSignedOut)
}

// leave sends to the sign-in after the session has ended.
func (d *Desk) leave(w http.ResponseWriter, q *request, reason string) error {
	forget(w)
	http.Redirect(w, q.Request, signInPath+"?"+url.Values{"ended": {reason}}.Encode(), http.StatusSeeOther)
	return nil
}

// forget makes the browser delete the cookie, and the pages that it keeps: Back must show no
// case.
func forget(w http.ResponseWriter) {
	setCookie(w, "")
	w.Header().Set("Clear-Site-Data", `"cache"`)
}

// endIfLocked ends the session in which a wrong password was one too many, and reports
// whether it did. Err is that of accounts.Authenticate or ChoosePassword.
func (d *Desk) endIfLocked(w http.ResponseWriter, q *request, err error) bool {
	if !q.signedIn() || events.CodeOf(err) != events.Unauthenticated || waitOf(err) == 0 {
		return false
	}
	d.sessions.End(q.Context(), q.session, accounts.SessionLocked)
	q.session = nil
	forget(w)
	return true
}

// renewSession answers in how many seconds the session ends, and whether that cannot be put
// off any more. That the script asks, because the PI wants to stay signed in, is an activity.
func (d *Desk) renewSession(w http.ResponseWriter, q *request) error {
	left := d.sessions.Until(q.session).Sub(q.now)
	body, err := json.Marshal(struct {
		Seconds int  `json:"seconds"`
		Last    bool `json:"last"`
	}{int(math.Ceil(left.Seconds())), left < d.sessions.IdleAfter()})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // fails only if the browser has gone
	return nil
}

// localPath returns a path and query of the desk to go to, or the page of what waits if the
// text is none, such as one that leads to another host.
func localPath(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(text, "//") || strings.ContainsAny(text+u.Path, "\\\x00\r\n\t") || strings.HasPrefix(u.Path, "//") ||
		strings.HasPrefix(u.Path, signInPath) {
		return "/waiting"
	}
	return u.RequestURI()
}
