package desk

import (
	"net/http"
	"net/url"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// casePage is what the page of a case shows.
type casePage struct {
	Case review.Case
	Sign signForm
}

// showCase answers with a case, or with the receipt of a sign-off of it.
func (d *Desk) showCase(w http.ResponseWriter, q *request) error {
	if q.URL.Query().Has("signed") {
		return d.showReceipt(w, q, q.PathValue("key"), caseNumber(q))
	}
	study, n, err := grantedCase(q)
	if err != nil {
		return err
	}
	c, err := d.outbox.Reviews().Case(q.Context(), study, n)
	if err != nil {
		return hidden(err, errNoCase)
	}
	return d.writeCase(w, q, http.StatusOK, c, nil, nil, "")
}

// writeCase answers with a case. A form that was sent and refused is typed; the last text is
// the stamp of the case that the PI had seen, if it is another one now.
func (d *Desk) writeCase(w http.ResponseWriter, q *request, status int, c review.Case, p *page.Problem, typed url.Values, _ string) error {
	f := d.frame(q, "", "Subject "+c.Subject, casePage{c, d.signForm(q, c, c.Check(), q.URL.Query()["sign"], p, typed)})
	f.Problem, f.Live = p, liveOf(c.StudyKey, c.Number)
	return pages.Write(w, status, "case", f)
}
