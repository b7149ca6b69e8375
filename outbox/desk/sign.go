package desk

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// signForm is what the form shows with which a PI signs.
type signForm struct{}

func (d *Desk) signForm(*request, review.Case, map[string]recist.Visit, []string, *page.Problem, url.Values) signForm {
	return signForm{}
}

func (d *Desk) showReceipt(http.ResponseWriter, *request, string, int32) error { return errNoCase }

// casePath returns the path of a case.
func casePath(key string, number int32) string {
	return "/cases/" + key + "/" + strconv.FormatInt(int64(number), 10)
}

// liveOf returns the path of the stream of a case.
func liveOf(key string, number int32) string {
	return livePath + "?case=" + key + "/" + strconv.FormatInt(int64(number), 10)
}

// grantedCase returns the study and the number of the case that the path names. The error
// is NotFound unless the PI is granted the study.
func grantedCase(q *request) (study string, number int32, err error) {
	key, n := q.PathValue("key"), caseNumber(q)
	i := slices.IndexFunc(q.pi.Studies, func(study string) bool { return events.StudyKey(study) == key })
	if i < 0 || n == 0 {
		return "", 0, errNoCase
	}
	return q.pi.Studies[i], n, nil
}

// caseNumber returns the case number in the path, or 0 if it is none.
func caseNumber(q *request) int32 {
	text := q.PathValue("case")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 || text != strconv.FormatInt(n, 10) {
		return 0
	}
	return int32(n)
}

// What is not granted has the same answer as what does not exist.
var errNoCase = events.Errorf(events.NotFound, "No case that you may see has this address.")

// hidden returns notFound for an error that is NotFound or Forbidden, and others as they
// are.
func hidden(err error, notFound *events.Error) error {
	if code := events.CodeOf(err); code == events.NotFound || code == events.Forbidden {
		return &events.Error{Code: notFound.Code, Message: notFound.Message, Err: err}
	}
	return err
}
