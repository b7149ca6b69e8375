package desk

import (
	"net/http"
	"net/url"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/trail"
)

// linesPerPage is the number of lines of the audit trail on a page.
const linesPerPage = 100

// historyPage is what the page of the audit trail shows.
type historyPage struct {
	Studies []string // that are granted
	Study   string   // that was chosen; empty for all
	Lines   []trail.Line
	First   string // the address of the first page; empty on the first page
	Next    string // the address of the next page; empty on the last page
}

// history answers with the audit trail of the PI's studies and of the PI, the latest line
// first.
func (d *Desk) history(w http.ResponseWriter, q *request) error {
	studies, study, err := q.chosenStudies()
	if err != nil {
		return err
	}
	before, err := q.after()
	if err != nil {
		return err
	}
	p := historyPage{Studies: q.pi.Studies, Study: study}
	reader := outbox.Reader{User: q.pi.User, Studies: studies}
	more := false
	err = d.outbox.Audit(q.Context(), outbox.AuditFilter{Reader: &reader, Study: study, Before: before, Newest: linesPerPage + 1}, func(e outbox.AuditEntry) error {
		if len(p.Lines) == linesPerPage {
			more = true
			return nil
		}
		p.Lines = append(p.Lines, trail.Describe(e, reader))
		return nil
	})
	if err != nil {
		return err
	}
	query := url.Values{}
	if study != "" {
		query.Set("study", study)
	}
	if before > 0 {
		p.First = address("/history", query, 0)
	}
	if more {
		p.Next = address("/history", query, p.Lines[linesPerPage-1].Number)
	}
	return pages.Write(w, http.StatusOK, "history", d.frame(q, "history", "History", p))
}
