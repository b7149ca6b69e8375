package desk

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/session"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signform"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// channel is what the audit trail records of a signature on these pages.
const channel = "desk"

// signForm returns the form for a case that the PI is granted; see signform.New.
func (d *Desk) signForm(q *request, c review.Case, checked map[string]recist.Visit, chosen []string, p *page.Problem, typed url.Values) (f signform.Form, err error) {
	f = signform.New(c, casePath(c.Study, c.Number), checked, chosen, d.credentials(q, signform.Prefix, p, typed), p, typed)
	f.Partners = d.countPartners(q.Context(), c.Study)
	f.Parked, err = d.parked(q.Context(), c.Study)
	return f, err
}

// credentials returns the fields of a form for the user name and the password.
func (d *Desk) credentials(q *request, prefix string, p *page.Problem, typed url.Values) signform.Credentials {
	return signform.NewCredentials(prefix, !d.sessions.Signed(q.session), q.pi.Name, d.sessions.Until(q.session), p, typed)
}

// countPartners returns to how many partners a study is granted, or -1 if that cannot be
// read.
func (d *Desk) countPartners(ctx context.Context, study string) (n int) {
	partners, err := d.outbox.Accounts().Partners(ctx)
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "cannot count partners", "cause", err)
		return -1
	}
	for _, p := range partners {
		if p.Granted(study) {
			n++
		}
	}
	return n
}

// parked reports whether the study's events are not published at the moment.
func (d *Desk) parked(ctx context.Context, study string) (bool, error) {
	parked, err := d.outbox.Parked(ctx)
	return slices.ContainsFunc(parked, func(p outbox.ParkedStudy) bool { return p.Study == study }), err
}

// signOff signs the versions that the form has.
func (d *Desk) signOff(w http.ResponseWriter, q *request) error {
	r := signOffRequest(q)
	refused := r.Refused()
	c, err := d.readCase(q)
	if err != nil {
		return d.outbox.RecordRefusal(q.Context(), refused, err)
	}
	again := func(status int, p *page.Problem) error { return d.writeCase(w, q, status, c, p, q.PostForm, "") }
	// A case that has changed is shown before anything else: what is wrong with the form may
	// not be with the next one, and the password is for what the PI has seen.
	if signform.Stale(c, r) {
		err := events.Errorf(events.Stale, "the case has changed since it was read, and nothing was signed")
		_ = d.outbox.RecordRefusal(q.Context(), refused, err)
		return d.writeCase(w, q, http.StatusPreconditionFailed, c, d.changed(q, c, refused.IDs, "signed"), q.PostForm, r.Stamp)
	}
	r.Checked = d.outbox.Reviews().CheckOf(c)
	if items := append(signform.Problems(c, r), d.missingCredentials(q, signform.Prefix)...); len(items) > 0 {
		if len(signform.Signable(c)) == 0 { // a form that was sent again; it is not shown again
			for i := range items {
				items[i].Field = ""
			}
		}
		return again(http.StatusBadRequest, problem(items...))
	}
	if r.Credential, err = d.confirm(w, q); err != nil {
		if !q.signedIn() {
			return err
		}
		if events.CodeOf(err) == events.Forbidden {
			_ = d.outbox.RecordRefusal(q.Context(), refused, err)
		}
		return refuseCredentials(err, signform.Prefix, again)
	}
	// What is signed is decided in the transaction, because the case may have changed while
	// the password was checked.
	var s outbox.SignOff
	shown := outbox.ShownCase{CaseOf: review.CaseOf{Study: c.Study, Number: c.Number}}
	signed, err := d.outbox.SignOffShown(q.Context(), shown, func(now review.Case) (outbox.SignOff, error) {
		c, r.Checked = now, d.outbox.Reviews().CheckOf(now)
		s, err = signing.SignOff(c, r)
		return s, err
	})
	if err != nil {
		return d.refuseSignOff(w, q, r, err)
	}
	d.sessions.SetSigned(q.session)
	d.cfg.Metrics.CountSignatures(c, r.Checked, s)
	return d.seeReceipt(w, q, c, s.IDs[0], signed)
}

// seeReceipt redirects to the receipt of a sign-off, by the event of the assessment.
func (d *Desk) seeReceipt(w http.ResponseWriter, q *request, c review.Case, id string, signed []outbox.Receipt) error {
	i := slices.IndexFunc(signed, func(r outbox.Receipt) bool { return r.ID == id })
	if i < 0 {
		return errors.New("the outbox has not answered for assessment " + id)
	}
	http.Redirect(w, q.Request, casePath(c.Study, c.Number)+"?"+url.Values{"signed": {signed[i].Event}}.Encode(), http.StatusSeeOther)
	return nil
}

// refuseSignOff shows the case again after a sign-off of it was refused with err. It reads
// the case again, because another PI may have signed meanwhile.
func (d *Desk) refuseSignOff(w http.ResponseWriter, q *request, r signing.Request, err error) error {
	status, _ := rest.StatusOf(err)
	if status >= http.StatusInternalServerError {
		return err // the page of the error asks to look at the case before signing again
	}
	if status == http.StatusUnauthorized {
		return d.refuseChangedPassword(w, q, err)
	}
	if status == http.StatusNotFound || status == http.StatusForbidden { // the grant has ended meanwhile
		return hidden(err, errNoCase)
	}
	c, readErr := d.readCase(q)
	if readErr != nil {
		return readErr
	}
	p, seen := &page.Problem{Title: "Nothing was signed"}, ""
	switch {
	case errors.Is(err, outbox.ErrClock):
		p.Title = "Nothing was signed, because the clock of the server is wrong"
		p.Items = []page.ProblemItem{{Text: "The operator of the server can help. What you typed is kept here, but not the password."}}
	case c.Stamp != r.Stamp:
		p, seen = d.changed(q, c, r.Refused().IDs, "signed"), r.Stamp
	}
	if events.CodeOf(err) != events.Stale {
		p.Items = append(p.Items, page.ProblemItem{Text: sentence(err)})
	}
	return d.writeCase(w, q, status, c, p, q.PostForm, seen)
}

// signOffRequest returns the sign-off that the form asks for.
func signOffRequest(q *request) signing.Request {
	form := q.PostForm
	r := signing.Request{
		User: q.pi.User, Meaning: signform.MeaningOf(form), Stamp: form.Get("stamp"), TraceParent: q.Header.Get("Traceparent"), Channel: channel,
	}
	for _, id := range form["sign"] {
		if !slices.ContainsFunc(r.Items, func(i signing.Item) bool { return i.ID == id }) {
			r.Items = append(r.Items, signing.Item{ID: id, Digest: form.Get("digest." + id), Reason: signing.Line(form.Get("reason." + id))})
		}
	}
	return r
}

// changed returns the problem of a form whose case has changed since. Done is what was not
// done: signed, withdrawn or returned.
func (d *Desk) changed(q *request, c review.Case, ids []string, done string) *page.Problem {
	ids = slices.Clone(ids)
	for name := range q.PostForm { // the visits that the form offered
		if id, ok := strings.CutPrefix(name, "digest."); ok && events.ValidFHIRID(id) {
			ids = append(ids, id)
		}
	}
	when := ""
	switch at := d.lastChange(q.Context(), c, ids).UTC(); {
	case at.IsZero():
	case at.Format(time.DateOnly) == q.now.UTC().Format(time.DateOnly):
		when = " at " + at.Format("15:04") + " UTC"
	default:
		when = " at " + page.UTC(at)
	}
	return &page.Problem{Title: "This case changed" + when + "; nothing was " + done, Items: []page.ProblemItem{{Text: "Look at it as it is now. What you typed is kept, but not the password."}}}
}

// lastChange returns when the case changed last, as far as its visits, what was returned of
// them, and the assessments with these ids show it. Those may be of another case by now.
func (d *Desk) lastChange(ctx context.Context, c review.Case, ids []string) (last time.Time) {
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	for _, v := range c.Visits {
		if v.Waiting != nil {
			later(v.Waiting.Registered)
		}
		if v.Signed != nil {
			later(v.Signed.Signature.Time)
			if v.Signed.Withdrawal != nil {
				later(v.Signed.Withdrawal.Time)
			}
		}
	}
	stored, err := d.outbox.Reviews().Counts(ctx, review.CaseOf{Study: c.Study, Number: c.Number}) // one that was returned is no visit
	for _, a := range stored {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		lines, readErr := d.outbox.Reviews().Trail(ctx, id, []string{c.Study})
		err = errors.Join(err, readErr)
		for _, l := range lines {
			if l.Action == "assessment.returned" || l.Action == "assessment.moved" {
				later(l.Time)
			}
		}
	}
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "cannot read when a case changed", "cause", err)
	}
	return last
}

// missingCredentials returns which of the credentials of a signature the form lacks.
func (d *Desk) missingCredentials(q *request, prefix string) []page.ProblemItem {
	return signform.MissingCredentials(q.PostForm, prefix, !d.sessions.Signed(q.session))
}

// confirm checks the user name and the password in the form, for a signature of the PI of
// the session, and returns the PI's credential. The error is about the field "user" or
// "password". If it is the wrong password that locks the PI's name at this address, the
// session ends.
func (d *Desk) confirm(w http.ResponseWriter, q *request) (credential string, err error) {
	if user := q.PostForm.Get("user"); user != "" && user != q.pi.User {
		// The password is not checked, so that nobody can try those of others here.
		return "", &events.Error{Code: events.Forbidden, Field: "user", Message: "This is not your user name; nobody can sign for another. Nothing was signed."}
	}
	pi, err := d.outbox.Accounts().Authenticate(q.Context(), q.pi.User, q.PostForm.Get("password"), q.address)
	switch events.CodeOf(err) {
	case events.Unauthenticated:
		if d.endIfLocked(w, q, err) {
			return "", &events.Error{
				Code: events.Throttled, RetryAfter: waitOf(err), Err: err,
				Message: "Five wrong passwords in a row: your name is locked on this computer for 15 minutes, and you are signed out. Nothing was signed.",
			}
		}
		return "", &events.Error{Code: events.Unauthenticated, Field: "password", Message: "The password is wrong. Nothing was signed.", Err: err}
	case events.Forbidden, events.Throttled:
		return "", &events.Error{Code: events.CodeOf(err), Field: "password", Message: sentence(err) + " Nothing was signed.", Err: err}
	}
	return pi.Credential, err
}

// refuseCredentials shows a form again for which confirm returned err.
func refuseCredentials(err error, prefix string, again func(int, *page.Problem) error) error {
	var e *events.Error
	if !errors.As(err, &e) || e.Field == "" {
		return err
	}
	status := http.StatusForbidden
	if e.Code == events.Throttled {
		status = http.StatusTooManyRequests
	}
	return again(status, problem(page.ProblemItem{Field: prefix + e.Field, Text: e.Message}))
}

// refuseChangedPassword answers a form that was refused with err, because another session or
// an operator has changed the password after it was checked. That has ended the session too.
func (d *Desk) refuseChangedPassword(w http.ResponseWriter, q *request, err error) error {
	var ended session.EndedError
	if _, over := d.sessions.Check(q.Context(), q.session); !errors.As(over, &ended) {
		return errors.Join(err, over)
	}
	return d.sendToSignIn(w, q, ended)
}

// sentence returns the message of an error for the page.
func sentence(err error) string {
	var e *events.Error
	if !errors.As(err, &e) || e.Message == "" {
		return http.StatusText(http.StatusBadRequest) + "."
	}
	return strings.ToUpper(e.Message[:1]) + e.Message[1:] + "."
}
