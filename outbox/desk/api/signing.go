package api

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// channel is what the audit trail records of a signature over this interface.
const channel = "api"

// traceParent is the header of W3C Trace Context.
const traceParent = "Traceparent"

// maySign returns an error unless signing over this interface is allowed.
func (a *API) maySign() error {
	if !a.cfg.Signing {
		return events.Errorf(events.Forbidden, "Signing over this interface is off; start signoff serve with --desk-api-signing to allow it.")
	}
	return nil
}

// receipt is the answer to a sign-off of one assessment. A repetition of the sign-off has
// the same one.
type receipt struct {
	ID        string         `json:"id"`
	Study     string         `json:"study"`
	Case      int32          `json:"case"`
	Version   events.Version `json:"version"`
	Digest    string         `json:"digest"`
	User      string         `json:"user"`
	Name      string         `json:"name"` // as printed
	Meaning   string         `json:"meaning"`
	Signed    time.Time      `json:"signed"`
	Kind      events.Kind    `json:"kind"`
	Event     string         `json:"event"`  // its id
	Number    uint64         `json:"number"` // of the event in the study
	Time      time.Time      `json:"time"`   // of the event
	Withdrawn bool           `json:"withdrawn,omitempty"`
	review.Receipt
}

// signAssessment signs the version of one assessment that the PI has read.
func (a *API) signAssessment(w http.ResponseWriter, q *request) error {
	if err := a.maySign(); err != nil {
		return err
	}
	tag, err := mustMatch(q)
	if err != nil {
		return err
	}
	item := signing.Item{ID: q.PathValue("id")}
	r := signing.Request{User: q.caller.name, Credential: q.caller.credential, TraceParent: q.Header.Get(traceParent), Channel: channel}
	if err := readJSON(w, q, members{"meaning": text(&r.Meaning), "stamp": text(&r.Stamp), "digest": text(&item.Digest), "reason": text(&item.Reason)}); err != nil {
		return err
	}
	if err := required("meaning", r.Meaning, "stamp", r.Stamp, "digest", item.Digest); err != nil {
		return err
	}
	r.Items = []signing.Item{item}
	hide := func(err error) error { return hidden(err, "assessment", item.ID) }
	receipts, status, err := a.sign(q, outbox.ShownCase{Assessment: item.ID}, r, hide, func(c review.Case) error {
		if err := q.caller.mayRead(c.Study); err != nil {
			return err
		}
		if (review.Case{Stamp: r.Stamp}).Tag(item.ID) != tag {
			// The stamp is compared with the stored one, and so the tag too.
			return events.Errorf(events.Stale, "If-Match and the stamp are not those of one state of assessment %s, and nothing was signed; read it again", item.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeJSON(w, status, receipts[0])
}

// caseHere names the case of a request without its study, because the audit trail has the
// error, and those who read it there may not be granted that study.
const caseHere = "with this path"

// signCase signs exactly the versions that the PI names, of one case.
func (a *API) signCase(w http.ResponseWriter, q *request) error {
	if err := a.maySign(); err != nil {
		return err
	}
	r := signing.Request{User: q.caller.name, Credential: q.caller.credential, TraceParent: q.Header.Get(traceParent), Channel: channel}
	err := readJSON(w, q, members{"meaning": text(&r.Meaning), "stamp": text(&r.Stamp), "assessments": func(reader *strictjson.Reader) error {
		_, err := reader.Array(func(int) error {
			var item signing.Item
			err := members{"id": text(&item.ID), "digest": text(&item.Digest), "reason": text(&item.Reason)}.read(reader)
			r.Items = append(r.Items, item)
			return err
		})
		return err
	}})
	if err != nil {
		return err
	}
	if err := checkItems(r); err != nil {
		return err
	}
	hide := func(err error) error { return hidden(err, "case", caseHere) }
	study, n, err := caseOf(q)
	if err != nil {
		return a.outbox.RecordRefusal(q.Context(), r.Refused(), hide(err))
	}
	receipts, status, err := a.sign(q, outbox.ShownCase{CaseOf: review.CaseOf{Study: study, Number: n}}, r, hide, func(review.Case) error { return nil })
	if err != nil {
		return err
	}
	return writeJSON(w, status, struct {
		Items []receipt `json:"items"`
	}{receipts})
}

// checkItems returns an error if something required is missing from the sign-off of a
// case, or an assessment is named twice.
func checkItems(r signing.Request) error {
	if err := required("meaning", r.Meaning, "stamp", r.Stamp); err != nil {
		return err
	}
	if len(r.Items) == 0 {
		return &events.Error{Code: events.Required, Field: "assessments", Message: "name at least one assessment"}
	}
	for i, item := range r.Items {
		if err := required("assessments.id", item.ID, "assessments.digest", item.Digest); err != nil {
			return err
		}
		if slices.ContainsFunc(r.Items[:i], func(other signing.Item) bool { return other.ID == item.ID }) {
			return events.Fieldf("assessments", "assessment %s is named twice", item.ID)
		}
	}
	return nil
}

// sign signs what the request asks for, of the case. Allow returns an error if the caller
// may not sign that case, and hide is hidden for what the request names. The result is the
// receipts in the order of the request, and the status: 200 if all was signed before, else
// 201.
func (a *API) sign(q *request, of outbox.ShownCase, r signing.Request, hide func(error) error, allow func(review.Case) error) (receipts []receipt, status int, err error) {
	read := false
	var c review.Case
	var s outbox.SignOff
	answers, err := a.outbox.SignOffShown(q.Context(), of, func(now review.Case) (_ outbox.SignOff, err error) {
		read, c = true, now
		if err := allow(c); err != nil {
			return r.Refused(), hide(err)
		}
		r.Checked = a.outbox.Reviews().CheckOf(c)
		s, err = signing.SignOff(c, r)
		status = http.StatusOK
		for _, v := range c.Visits {
			if slices.Contains(s.IDs, v.ID) && v.Waiting != nil && v.Waiting.Digest == s.Expected[v.ID].Digest {
				status = http.StatusCreated
			}
		}
		return s, err
	})
	if err != nil && !read {
		err = a.outbox.RecordRefusal(q.Context(), r.Refused(), hide(err))
	}
	if err != nil {
		return nil, 0, hide(err)
	}
	a.cfg.Metrics.CountSignatures(c, r.Checked, s)
	for _, item := range r.Items {
		id := item.ID
		i := slices.IndexFunc(answers, func(answer outbox.Receipt) bool { return answer.ID == id })
		if i < 0 {
			return nil, 0, errors.New("the outbox has not answered for assessment " + id)
		}
		answer := answers[i]
		if answer.Hash == "" { // it was signed before
			if answer.Receipt, err = a.outbox.Reviews().Receipt(q.Context(), id, answer.Event); err != nil {
				return nil, 0, err
			}
		}
		receipts = append(receipts, receipt{
			ID: id, Study: answer.Study, Case: answer.Case, Version: answer.Version, Digest: answer.Digest,
			User: answer.Signature.User, Name: answer.Signature.Name, Meaning: answer.Signature.Meaning, Signed: answer.Signature.Time,
			Kind: answer.Kind, Event: answer.Event, Number: answer.Sequence, Time: answer.Time, Withdrawn: answer.Withdrawn, Receipt: answer.Receipt,
		})
	}
	return receipts, status, nil
}

// withdrawn is the answer to a withdrawal. A repetition has the same one.
type withdrawn struct {
	ID      string         `json:"id"`
	Study   string         `json:"study"`
	Case    int32          `json:"case"`
	Version events.Version `json:"version"`
	User    string         `json:"user"`
	Name    string         `json:"name"` // as printed
	Meaning string         `json:"meaning"`
	Reason  string         `json:"reason"`
	Signed  time.Time      `json:"signed"` // the withdrawal
	Event   string         `json:"event"`  // its id
	Number  uint64         `json:"number"` // of the event in the study
	Time    time.Time      `json:"time"`   // of the event
}

// withdraw withdraws the version of an assessment that was signed last. That is a
// signature.
func (a *API) withdraw(w http.ResponseWriter, q *request) error {
	if err := a.maySign(); err != nil {
		return err
	}
	tag, err := mustMatch(q)
	if err != nil {
		return err
	}
	wd := outbox.Withdrawal{User: q.caller.name, Credential: q.caller.credential, ID: q.PathValue("id"), Tag: tag, TraceParent: q.Header.Get(traceParent), Channel: channel}
	if err := readJSON(w, q, members{"meaning": text(&wd.Meaning), "reason": text(&wd.Reason)}); err != nil {
		return err
	}
	wd.Meaning, wd.Reason = signing.Line(wd.Meaning), signing.Line(wd.Reason)
	if err := required("meaning", wd.Meaning, "reason", wd.Reason); err != nil {
		return err
	}
	if !events.ValidFHIRID(wd.ID) {
		return hidden(events.NotFound, "assessment", wd.ID)
	}
	status := http.StatusCreated
	if _, v, err := a.visible(q); err == nil && v.Signed != nil && v.Signed.Withdrawal != nil {
		status = http.StatusOK // the answer to the same withdrawal of before
	}
	// The outbox finds out whether the PI may see it, and audits the refusal.
	answer, err := a.outbox.Withdraw(q.Context(), wd)
	if err != nil {
		return hidden(err, "assessment", wd.ID)
	}
	return writeJSON(w, status, withdrawn{
		ID: answer.ID, Study: answer.Study, Case: answer.Case, Version: answer.Version,
		User: answer.Withdrawal.User, Name: answer.Withdrawal.Name, Meaning: answer.Withdrawal.Meaning, Reason: wd.Reason, Signed: answer.Withdrawal.Time,
		Event: answer.Event, Number: answer.Sequence, Time: answer.Time,
	})
}
