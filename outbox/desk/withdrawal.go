package desk

import (
	"errors"
	"net/http"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signform"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// withdraw withdraws the version of an assessment that was signed last.
func (d *Desk) withdraw(w http.ResponseWriter, q *request) error {
	form := q.PostForm
	wd := outbox.Withdrawal{
		User: q.pi.User, ID: q.PathValue("id"), Meaning: signform.MeaningOf(form), Reason: signing.Line(form.Get("reason")), Tag: form.Get("tag"),
		TraceParent: q.Header.Get("Traceparent"), Channel: channel,
	}
	c, v, err := d.grantedAssessment(q)
	if err != nil {
		return d.outbox.RecordRefusedWithdrawal(q.Context(), wd, err)
	}
	again := func(status int, p *page.Problem) error { return d.writeAssessment(w, q, status, c, v, p, form) }
	withdrawn := v.Signed != nil && v.Signed.Withdrawal != nil // then it may be the same withdrawal again
	if !withdrawn && wd.Tag != c.Tag(wd.ID) {
		_ = d.outbox.RecordRefusedWithdrawal(q.Context(), wd, events.Errorf(events.Stale, "assessment %s has changed since it was read, and was not withdrawn", wd.ID))
		return again(http.StatusPreconditionFailed, d.changed(q, c, []string{wd.ID}, "withdrawn"))
	}
	items := append(signform.WithdrawProblems(wd.Meaning, wd.Reason), d.missingCredentials(q, signform.WithdrawPrefix)...)
	if len(items) > 0 {
		return again(http.StatusBadRequest, problem(items...))
	}
	if wd.Credential, err = d.confirm(w, q); err != nil {
		if !q.signedIn() {
			return err
		}
		if events.CodeOf(err) == events.Forbidden {
			_ = d.outbox.RecordRefusedWithdrawal(q.Context(), wd, err)
		}
		return refuseCredentials(err, signform.WithdrawPrefix, again)
	}
	if _, err = d.outbox.Withdraw(q.Context(), wd); err == nil {
		d.sessions.SetSigned(q.session)
		http.Redirect(w, q.Request, "/assessments/"+wd.ID, http.StatusSeeOther)
		return nil
	}
	return d.refuseWithdrawal(w, q, wd, err)
}

// refuseWithdrawal shows the assessment again after its withdrawal was refused with err.
func (d *Desk) refuseWithdrawal(w http.ResponseWriter, q *request, wd outbox.Withdrawal, err error) error {
	status, _ := rest.StatusOf(err)
	if status >= http.StatusInternalServerError {
		return err
	}
	if status == http.StatusUnauthorized {
		return d.refuseChangedPassword(w, q, err)
	}
	if status == http.StatusNotFound || status == http.StatusForbidden {
		return hidden(err, errNoAssessment)
	}
	c, v, readErr := d.grantedAssessment(q)
	if readErr != nil {
		return readErr
	}
	p := &page.Problem{Title: "Nothing was withdrawn", Items: []page.ProblemItem{{Text: sentence(err)}}}
	switch {
	case errors.Is(err, outbox.ErrClock):
		p.Title = "Nothing was withdrawn, because the clock of the server is wrong"
		p.Items = append(p.Items, page.ProblemItem{Text: "The operator of the server can help."})
	case events.CodeOf(err) == events.Stale:
		p = d.changed(q, c, []string{wd.ID}, "withdrawn")
	}
	return d.writeAssessment(w, q, status, c, v, p, q.PostForm)
}

// returnToSource returns the waiting version of an assessment to its source. That is no
// signature.
func (d *Desk) returnToSource(w http.ResponseWriter, q *request) error {
	c, err := d.readCase(q)
	if err != nil {
		return err
	}
	id, reason := q.PostForm.Get("return"), signing.Line(q.PostForm.Get("return-reason"))
	if items := signform.ReturnProblems(id, reason); len(items) > 0 {
		return d.writeCase(w, q, http.StatusBadRequest, c, problem(items...), q.PostForm, "")
	}
	seen := q.PostForm.Get("stamp")
	other, _, err := d.outbox.Reviews().Assessment(q.Context(), id)
	switch elsewhere := other.Study != c.Study || other.Number != c.Number; {
	case err != nil && events.CodeOf(err) != events.NotFound:
		return err
	case elsewhere && seen != c.Stamp: // it may have been moved; the answer is the same if it does not exist
		return d.writeCase(w, q, http.StatusPreconditionFailed, c, d.changed(q, c, []string{id}, "returned"), q.PostForm, seen)
	case elsewhere:
		return hidden(events.Errorf(events.NotFound, "assessment is of another case"), errNoCase)
	}
	_, err = d.outbox.Return(q.Context(), outbox.Return{User: q.pi.User, ID: id, Reason: reason, Tag: review.Case{Stamp: seen}.Tag(id)})
	if err == nil {
		http.Redirect(w, q.Request, "/assessments/"+id, http.StatusSeeOther)
		return nil
	}
	return d.refuseReturn(w, q, id, seen, err)
}

// refuseReturn shows the case again after a return of an assessment was refused with err.
// Seen is the stamp of the case that the PI was shown.
func (d *Desk) refuseReturn(w http.ResponseWriter, q *request, id, seen string, err error) error {
	status, _ := rest.StatusOf(err)
	if status >= http.StatusInternalServerError || status == http.StatusNotFound || status == http.StatusForbidden {
		return hidden(err, errNoCase)
	}
	if c, readErr := d.readCase(q); readErr == nil {
		if c.Stamp == seen {
			return d.writeCase(w, q, status, c, &page.Problem{Title: "Nothing was returned", Items: []page.ProblemItem{{Text: sentence(err)}}}, q.PostForm, "")
		}
		p := d.changed(q, c, []string{id}, "returned")
		if events.CodeOf(err) == events.Conflict {
			p.Items = append(p.Items, page.ProblemItem{Text: sentence(err)})
		}
		return d.writeCase(w, q, status, c, p, q.PostForm, seen)
	}
	return err
}
