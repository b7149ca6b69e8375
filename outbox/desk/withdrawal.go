package desk

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// withdrawForm is the form by which the version of an assessment that was signed last is
// withdrawn. That is a signature.
type withdrawForm struct {
	ID, Name      string
	Tag           string
	Open          bool   // whether the form is shown, because it was refused
	Reason        string // typed before
	ReasonProblem string
	Meaning       meaningField
	Credentials   credentialFields
}

// withdrawMeanings are the meanings of a withdrawal that a PI may choose.
var withdrawMeanings = []string{"I withdraw this assessment.", "I have reviewed this assessment; it was signed in error."}

// withdrawForm returns the form for an assessment of the case, or nil if nothing of it can be
// withdrawn. Typed is the form that was sent and refused, or nil.
func (d *Desk) withdrawForm(q *request, c review.Case, id string, p *page.Problem, typed url.Values) *withdrawForm {
	i := slices.IndexFunc(c.Visits, func(v review.Visit) bool { return v.ID == id })
	if i < 0 || c.Visits[i].Signed == nil || c.Visits[i].Signed.Withdrawal != nil {
		return nil
	}
	return &withdrawForm{
		ID: id, Name: c.Visits[i].Signed.Assessment.Name, Tag: c.Tag(id), Open: typed != nil, Reason: typed.Get("reason"), ReasonProblem: p.At("withdraw-reason"),
		Meaning: meaningFieldOf("withdraw-", withdrawMeanings, p, typed), Credentials: d.credentialFieldsOf(q, "withdraw-", p, typed),
	}
}

// withdraw withdraws the version of an assessment that was signed last.
func (d *Desk) withdraw(w http.ResponseWriter, q *request) error {
	form := q.PostForm
	wd := outbox.Withdrawal{
		User: q.pi.User, ID: q.PathValue("id"), Meaning: meaningOf(form), Reason: signing.Line(form.Get("reason")), Tag: form.Get("tag"),
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
		return again(http.StatusPreconditionFailed, d.changedAssessment(q, c, wd.ID, "withdrawn"))
	}
	items := []page.ProblemItem{}
	if wd.Reason == "" {
		items = append(items, page.ProblemItem{Field: "withdraw-reason", Text: "Say why it is withdrawn."})
	} else {
		items = appendTextProblem(items, "withdraw-reason", "The reason", events.ValidReason(wd.Reason))
	}
	items = append(appendMeaningProblem(items, "withdraw-meaning", wd.Meaning), d.missingCredentials(q, "withdraw-")...)
	if len(items) > 0 {
		return again(http.StatusBadRequest, problem(items...))
	}
	if err := d.confirm(w, q); err != nil {
		if !q.signedIn() {
			return err
		}
		if events.CodeOf(err) == events.Forbidden {
			_ = d.outbox.RecordRefusedWithdrawal(q.Context(), wd, err)
		}
		return refuseCredentials(err, "withdraw-", again)
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
		p = d.changedAssessment(q, c, wd.ID, "withdrawn")
	}
	return d.writeAssessment(w, q, status, c, v, p, q.PostForm)
}

// changedAssessment returns the problem of a form whose case has changed since.
func (d *Desk) changedAssessment(q *request, c review.Case, id, done string) *page.Problem {
	p := d.changed(q, c, []string{id})
	p.Title = p.Title[:len(p.Title)-len("signed")] + done
	return p
}

// returnToSource returns the waiting version of an assessment to its source. That is no
// signature.
func (d *Desk) returnToSource(w http.ResponseWriter, q *request) error {
	study, n, err := grantedCase(q)
	if err != nil {
		return err
	}
	c, err := d.outbox.Reviews().Case(q.Context(), study, n)
	if err != nil {
		return hidden(err, errNoCase)
	}
	id, reason := q.PostForm.Get("return"), signing.Line(q.PostForm.Get("return-reason"))
	var items []page.ProblemItem
	if !events.ValidFHIRID(id) {
		items = append(items, page.ProblemItem{Field: "return-visits", Text: "Choose the visit to return."})
	}
	if reason == "" {
		items = append(items, page.ProblemItem{Field: "return-reason", Text: "Say what the source is to correct."})
	} else {
		items = appendTextProblem(items, "return-reason", "The reason", events.ValidReason(reason))
	}
	if len(items) > 0 {
		return d.writeCase(w, q, http.StatusBadRequest, c, problem(items...), q.PostForm, "")
	}
	if other, _, err := d.outbox.Reviews().Assessment(q.Context(), id); err != nil || other.Study != study || other.Number != n {
		return hidden(events.Errorf(events.NotFound, "assessment is of another case"), errNoCase)
	}
	seen := q.PostForm.Get("stamp")
	_, err = d.outbox.Return(q.Context(), outbox.Return{User: q.pi.User, ID: id, Reason: reason, Tag: review.Case{Stamp: seen}.Tag(id)})
	if err == nil {
		http.Redirect(w, q.Request, "/assessments/"+id, http.StatusSeeOther)
		return nil
	}
	status, _ := rest.StatusOf(err)
	if status >= http.StatusInternalServerError || status == http.StatusNotFound || status == http.StatusForbidden {
		return hidden(err, errNoCase)
	}
	if c, readErr := d.outbox.Reviews().Case(q.Context(), study, n); readErr == nil {
		p := d.changed(q, c, []string{id})
		p.Title = p.Title[:len(p.Title)-len("signed")] + "returned"
		if events.CodeOf(err) == events.Conflict {
			p.Items = append(p.Items, page.ProblemItem{Text: sentence(err)})
		}
		return d.writeCase(w, q, status, c, p, q.PostForm, seen)
	}
	return err
}
