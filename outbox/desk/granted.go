package desk

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// What is not granted has the same answer as what does not exist.
var (
	errNoStudy      = events.Errorf(events.NotFound, "What you asked for does not exist, or your studies do not include it.")
	errNoCase       = events.Errorf(events.NotFound, "No case that you may see has this address.")
	errNoAssessment = events.Errorf(events.NotFound, "No assessment that you may see has this address.")
)

// hidden returns notFound for an error that is NotFound or Forbidden, and others as they
// are.
func hidden(err error, notFound *events.Error) error {
	if code := events.CodeOf(err); code == events.NotFound || code == events.Forbidden {
		return &events.Error{Code: notFound.Code, Message: notFound.Message, Err: err}
	}
	return err
}

// chosenStudies returns the granted studies that the parameter study selects: all, or the
// one that it names. The error is NotFound if that one is not granted.
func (q *request) chosenStudies() (studies []string, chosen string, err error) {
	id := q.URL.Query().Get("study")
	if id == "" {
		return q.pi.Studies, "", nil
	}
	study, ok := events.StudyWithKey(q.pi.Studies, events.StudyKey(id))
	if !ok {
		return nil, "", errNoStudy
	}
	return []string{study}, study, nil
}

// grantedCase returns the study and the number of the case that the path names. The error
// is NotFound unless the PI is granted the study.
func (q *request) grantedCase() (study string, number int32, err error) {
	study, ok := events.StudyWithKey(q.pi.Studies, q.PathValue("key"))
	if number = q.caseNumber(); !ok || number == 0 {
		return "", 0, errNoCase
	}
	return study, number, nil
}

// readCase returns the case that the path names. The error is NotFound unless the PI is
// granted its study.
func (d *Desk) readCase(q *request) (review.Case, error) {
	study, n, err := q.grantedCase()
	if err != nil {
		return review.Case{}, err
	}
	c, err := d.outbox.Reviews().Case(q.Context(), study, n)
	return c, hidden(err, errNoCase)
}

// caseNumber returns the case number in the path, or 0 if it is none.
func (q *request) caseNumber() int32 {
	text := q.PathValue("case")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 || text != strconv.FormatInt(n, 10) {
		return 0
	}
	return int32(n)
}

// grantedAssessment returns the case of the assessment that the path names, and the visit
// that it is. The error is NotFound unless the PI is granted its study.
func (d *Desk) grantedAssessment(q *request) (c review.Case, v review.Visit, err error) {
	if !events.ValidFHIRID(q.PathValue("id")) {
		return c, v, errNoAssessment
	}
	c, v, err = d.outbox.Reviews().Assessment(q.Context(), q.PathValue("id"))
	if err == nil && !slices.Contains(q.pi.Studies, c.Study) {
		err = events.Errorf(events.NotFound, "%s is not granted to %s", c.Study, q.pi.User)
	}
	return c, v, hidden(err, errNoAssessment)
}

// casePath returns the path of a case.
func casePath(study string, number int32) string {
	return "/cases/" + events.StudyKey(study) + "/" + strconv.Itoa(int(number))
}

// receiptPath returns the path of the receipt of a sign-off. It is one that the signer can
// read when the grant has ended too.
func receiptPath(assessment, event string) string {
	return "/assessments/" + assessment + "?" + url.Values{"signed": {event}}.Encode()
}
