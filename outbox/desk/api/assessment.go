package api

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// delivered is the answer to a delivery.
type delivered struct {
	outbox.Delivered
	Check *review.Result `json:"check,omitempty"` // absent for a version that is not in force
}

// deliver registers the assessment in the body for the source that sends it.
func (a *API) deliver(w http.ResponseWriter, q *request) error {
	if q.Header.Get("If-None-Match") != "" {
		return events.Errorf(events.Unsupported, "If-None-Match is not supported here; registering the same content again changes nothing.")
	}
	tag, err := ifMatch(q)
	if err != nil {
		return err
	}
	body, mediaType, err := readBody(w, q, events.MediaJSON, events.MediaFHIR)
	if err != nil {
		return err
	}
	assessment, err := readOne(q.Context(), body, mediaType)
	if err != nil {
		return err
	}
	if id := q.PathValue("id"); assessment.ID != id {
		return events.Fieldf("id", "the body has assessment %s, the path %s", assessment.ID, intake.Printable(id))
	}
	d, err := a.outbox.Deliver(q.Context(), outbox.Delivery{Source: q.caller.name, Assessment: assessment, Tag: tag})
	if err != nil {
		return err
	}
	answer := delivered{Delivered: d}
	c, v, err := a.outbox.Reviews().Assessment(q.Context(), d.ID)
	if err != nil {
		return err
	}
	// Another delivery may have replaced this one since.
	if version := c.InForce(v); version != nil && version.Digest == d.Digest {
		answer.Check = a.resultOf(c, d.ID)
	}
	w.Header().Set("ETag", etag(d.Tag))
	status := http.StatusOK
	if d.Created {
		status = http.StatusCreated
		w.Header().Set("Location", BasePath+"/assessments/"+d.ID)
	}
	return writeJSON(w, status, answer)
}

// errSecond ends the reading of a body with more than one assessment.
var errSecond = events.Errorf(events.Invalid, "the body has more than one assessment; send each by itself")

// readOne reads the one assessment of a body.
func readOne(ctx context.Context, body []byte, mediaType string) (events.Assessment, error) {
	format := intake.JSON
	if mediaType == events.MediaFHIR {
		format = intake.FHIR
	}
	var records []intake.Record
	err := intake.ReadFormat(ctx, bytes.NewReader(body), "body", format, func(r intake.Record) error {
		if records = append(records, r); len(records) > 1 {
			return errSecond
		}
		return nil
	})
	switch {
	case errors.Is(err, errSecond):
		return events.Assessment{}, errSecond
	case err != nil:
		return events.Assessment{}, ofBody(err)
	case len(records) == 0:
		return events.Assessment{}, events.Errorf(events.Required, "the body has no assessment")
	case records[0].Err != nil:
		return events.Assessment{}, ofBody(records[0].Err)
	}
	return records[0].Submission.Assessment, nil
}

// bodyWords replaces words about a file by words about a body.
var bodyWords = strings.NewReplacer("the file", "the body", "write one record a line, or put the records into an array", "send each assessment by itself")

// ofBody returns the error of an import as that of a body.
func ofBody(err error) error {
	var e *events.Error
	if !errors.As(err, &e) {
		return err
	}
	return &events.Error{Code: e.Code, Field: e.Field, Message: bodyWords.Replace(e.Message), Err: err}
}

// resultOf returns what RECIST 1.1 gives for an assessment of a case, or nil if no version
// of it is in force.
func (a *API) resultOf(c review.Case, id string) *review.Result {
	visit, ok := a.outbox.Reviews().CheckOf(c)[id]
	if !ok {
		return nil
	}
	result := review.ResultOf(visit)
	return &result
}

// listAssessments answers with a page of assessments in the order of their last changes.
func (a *API) listAssessments(w http.ResponseWriter, q *request) error {
	values, err := query(q, "study", "case", "status", "_count", "after")
	if err != nil {
		return err
	}
	caseNumber, err := number(values, "case", 1, math.MaxInt32)
	if err != nil {
		return err
	}
	count, err := number(values, "_count", 1, review.MaxPerPage)
	if err != nil {
		return err
	}
	after, err := number(values, "after", 0, math.MaxInt64)
	if err != nil {
		return err
	}
	status := values.Get("status")
	if statuses := []string{review.StatusWaiting, review.StatusSigned, review.StatusWithdrawn, review.StatusReturned}; status != "" && !slices.Contains(statuses, status) {
		return events.Fieldf("status", "must be waiting, signed, withdrawn or returned")
	}
	filter := review.ChangeFilter{Studies: q.caller.studies, Case: int32(caseNumber), Status: status, After: after, Limit: int(count)}
	if study := values.Get("study"); study != "" {
		if filter.Studies, err = q.caller.study(study); err != nil {
			return err
		}
	}
	if q.caller.role == Source {
		filter.Source = q.caller.name
	}
	items, err := a.outbox.Reviews().Changes(q.Context(), filter)
	if err != nil {
		return err
	}
	page := struct {
		Items []review.Changed `json:"items"`
		Next  int64            `json:"next"` // after of the next page
	}{append([]review.Changed{}, items...), after}
	if len(items) > 0 {
		page.Next = items[len(items)-1].Position
	}
	return writeJSON(w, http.StatusOK, page)
}

// assessmentFacts is what is shown of an assessment.
type assessmentFacts struct {
	ID       string `json:"id"`
	Study    string `json:"study"`
	StudyKey string `json:"studyKey"`
	Case     int32  `json:"case"`
	Stamp    string `json:"stamp"`            // of the case
	Digest   string `json:"digest,omitempty"` // of the current version

	Current  *review.Version    `json:"current,omitempty"` // the one that waits, else the one signed last
	Versions []review.Version   `json:"versions"`
	Check    *review.Result     `json:"check,omitempty"`
	Audit    []review.TrailLine `json:"audit,omitempty"` // for PIs
}

// readAssessment answers with an assessment and its versions.
func (a *API) readAssessment(w http.ResponseWriter, q *request) error {
	if _, err := query(q); err != nil {
		return err
	}
	c, v, err := a.visible(q)
	if err != nil {
		return err
	}
	facts := assessmentFacts{ID: v.ID, Study: c.Study, StudyKey: c.StudyKey, Case: c.Number, Stamp: c.Stamp, Current: v.Waiting, Check: a.resultOf(c, v.ID)}
	if facts.Current == nil {
		facts.Current = v.Signed
	}
	if facts.Current != nil {
		facts.Digest = facts.Current.Digest
	}
	if facts.Versions, err = a.outbox.Reviews().VersionsIn(q.Context(), v.ID, q.caller.studies); err != nil {
		return err
	}
	if q.caller.role == PI {
		if facts.Audit, err = a.outbox.Reviews().Trail(q.Context(), v.ID, q.caller.studies); err != nil {
			return err
		}
	}
	w.Header().Set("ETag", etag(c.Tag(v.ID)))
	return writeJSON(w, http.StatusOK, facts)
}

// visible returns the assessment that the path names and its case. The error is NotFound
// unless the caller is granted its study and, as a source, owns it.
func (a *API) visible(q *request) (c review.Case, v review.Visit, err error) {
	id := q.PathValue("id")
	if !events.ValidFHIRID(id) {
		return c, v, hidden(events.NotFound, "assessment", id)
	}
	c, v, err = a.outbox.Reviews().Assessment(q.Context(), id)
	if err == nil {
		err = q.caller.mayRead(c.Study)
	}
	if err == nil && q.caller.role == Source {
		var owner string
		if owner, err = a.outbox.Reviews().Source(q.Context(), id); err == nil && owner != q.caller.name {
			err = events.Errorf(events.NotFound, "it belongs to another source than %s", q.caller.name)
		}
	}
	return c, v, hidden(err, "assessment", id)
}

// returnToSource returns the waiting version of an assessment to its source. That is no
// signature.
func (a *API) returnToSource(w http.ResponseWriter, q *request) error {
	tag, err := mustMatch(q)
	if err != nil {
		return err
	}
	r := outbox.Return{User: q.caller.name, ID: q.PathValue("id"), Tag: tag}
	if err := readJSON(w, q, members{"reason": text(&r.Reason)}); err != nil {
		return err
	}
	if r.Reason = signing.Line(r.Reason); r.Reason == "" {
		return required("reason", "")
	}
	_, v, err := a.visible(q)
	if err != nil {
		return err
	}
	record, err := a.outbox.Return(q.Context(), r)
	if err != nil {
		return hidden(err, "assessment", r.ID)
	}
	status := http.StatusCreated
	if v.Waiting == nil {
		status = http.StatusOK // the answer to the same return of before
	}
	return writeJSON(w, status, record)
}
