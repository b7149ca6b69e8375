package desk

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// passwordPage is what the page of the password shows.
type passwordPage struct {
	User    string // typed before, or of who is signed in
	Typed   bool   // the user name is typed, because nobody is signed in
	Next    string // where to go then
	OneTime bool   // the PI tried to sign in with a one-time password
	Changed bool
	Least   int // characters of a password
}

// showPassword answers with the page on which PIs choose a password in place of their
// present one, or of a one-time password that an operator has set. That one begins no
// session, so the user name is typed here.
func (d *Desk) showPassword(w http.ResponseWriter, q *request) error {
	query := q.URL.Query()
	data := passwordPage{Next: localPath(query.Get("next")), OneTime: query.Has("one-time"), Changed: query.Has("changed") && q.signedIn()}
	return d.writePassword(w, q, http.StatusOK, data, nil)
}

func (d *Desk) writePassword(w http.ResponseWriter, q *request, status int, data passwordPage, p *page.Problem) error {
	data.Least, data.Typed = accounts.MinPassword, !q.signedIn()
	if q.signedIn() {
		data.User, data.OneTime = q.pi.User, false
	}
	f := d.frame(q, "", "Choose a password", data)
	f.Problem = p
	return pages.Write(w, status, "password", f)
}

// choosePassword replaces a password. The session goes on, or begins, and all others of the
// PI end.
func (d *Desk) choosePassword(w http.ResponseWriter, q *request) error {
	data := passwordPage{User: q.PostFormValue("user"), Next: localPath(q.PostFormValue("next")), OneTime: q.PostFormValue("one-time") != ""}
	if q.signedIn() {
		data.User = q.pi.User
	}
	password := q.PostFormValue("password")
	if password != q.PostFormValue("again") {
		return d.writePassword(w, q, http.StatusBadRequest, data, problem(page.ProblemItem{Field: "again", Text: "This is not the same as the new password above."}))
	}
	change := func() error {
		return d.outbox.Accounts().ChoosePassword(q.Context(), data.User, q.PostFormValue("present"), password, q.address)
	}
	var err error
	if q.signedIn() {
		err = d.sessions.Renew(q.Context(), q.session, change)
	} else {
		err = change()
	}
	switch {
	case err != nil:
		return d.refusePassword(w, q, data, err)
	case q.signedIn():
		http.Redirect(w, q.Request, "/password?"+url.Values{"changed": {"1"}}.Encode(), http.StatusSeeOther)
		return nil
	default:
		return d.begin(w, q, data.User, "", data.Next)
	}
}

// refusePassword answers with the form again and the reason at its field.
func (d *Desk) refusePassword(w http.ResponseWriter, q *request, data passwordPage, err error) error {
	if d.endIfLocked(w, q, err) {
		return d.leave(w, q, accounts.SessionLocked)
	}
	status, text := rest.StatusOf(err)
	item := page.ProblemItem{Field: "present", Text: text}
	var e *events.Error
	switch code := events.CodeOf(err); {
	case code == events.Invalid && errors.As(err, &e) && e.Field == "password":
		item = page.ProblemItem{Field: "password", Text: "The new password " + strings.TrimSuffix(e.Message, ".") + "."}
	case code == events.Unauthenticated && !q.signedIn(), code == events.Throttled && !q.signedIn():
		item = page.ProblemItem{Field: "user", Text: refusal(err, "user name or the present password")}
	case code == events.Unauthenticated, code == events.Throttled:
		item.Text = refusal(err, "present password")
	case code == events.Expired:
		item.Text = "This one-time password has expired. Ask your study’s operator for another one."
	case code == events.Conflict:
		item.Text = "The password was changed at this moment, perhaps in another window. Try again."
	default:
		return err
	}
	setRetryAfter(w, status, err)
	return d.writePassword(w, q, status, data, problem(item))
}
