package desk

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// signInPage is what the page of the sign-in shows.
type signInPage struct {
	User  string // typed before
	Next  string // where to go after the sign-in
	Ended string // why the last session ended, as in package accounts; empty if it does not matter
}

// showSignIn answers with the sign-in. Who is signed in is sent on.
func (d *Desk) showSignIn(w http.ResponseWriter, q *request) error {
	next := localPath(q.URL.Query().Get("next"))
	if q.signedIn() {
		http.Redirect(w, q.Request, next, http.StatusSeeOther)
		return nil
	}
	return d.writeSignIn(w, q, http.StatusOK, signInPage{Next: next, Ended: q.URL.Query().Get("ended")}, nil)
}

func (d *Desk) writeSignIn(w http.ResponseWriter, q *request, status int, data signInPage, p *page.Problem) error {
	f := d.frame(q, "", "Sign in", data)
	f.Problem = p
	return pages.Write(w, status, "signin", f)
}

// signIn begins a session.
func (d *Desk) signIn(w http.ResponseWriter, q *request) error {
	user, next := q.PostFormValue("user"), localPath(q.PostFormValue("next"))
	pi, err := d.outbox.Accounts().Authenticate(q.Context(), user, q.PostFormValue("password"), q.address)
	if err != nil {
		switch events.CodeOf(err) {
		case events.Unauthenticated, events.Throttled, events.Forbidden:
			status, text := rest.StatusOf(err)
			return d.writeSignIn(w, q, status, signInPage{User: user, Next: next}, problem(page.ProblemItem{Field: "user", Text: text}))
		}
		return err
	}
	_, cookie, err := d.sessions.Begin(q.Context(), pi.User, q.address)
	if err != nil {
		return err
	}
	if q.signedIn() { // a form that was open in another tab
		d.sessions.End(q.Context(), q.session, accounts.SessionReplaced)
	}
	setCookie(w, cookie)
	http.Redirect(w, q.Request, next, http.StatusSeeOther)
	return nil
}

// signOut ends the session.
func (d *Desk) signOut(w http.ResponseWriter, q *request) error {
	if q.signedIn() {
		d.sessions.End(q.Context(), q.session, accounts.SessionSignedOut)
	}
	setCookie(w, "")
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, q.Request, "/sign-in?"+url.Values{"ended": {accounts.SessionSignedOut}}.Encode(), http.StatusSeeOther)
	return nil
}

// localPath returns a path and query of the desk to go to, or the page of what waits if the
// text is none, such as one that leads to another host.
func localPath(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(text, "//") || strings.ContainsAny(text, "\\\x00\r\n\t") || strings.HasPrefix(u.Path, "//") ||
		strings.HasPrefix(u.Path, "/sign-in") {
		return "/waiting"
	}
	return u.RequestURI()
}

// address returns the address of the browser. X-Forwarded-For counts only from a trusted
// proxy, and of its addresses the last one that is not a trusted proxy's itself: whoever
// sends the request can write any others in front.
func (d *Desk) address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && d.trusted(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
	}
	return address.WithZone("").String()
}

func (d *Desk) trusted(a netip.Addr) bool {
	for _, p := range d.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
