package desk

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// signedPerPage is the number of signatures on a page.
const signedPerPage = 50

// signedPage is what the page of what the PI has signed shows.
type signedPage struct {
	Studies []string // that are granted
	Study   string   // that was chosen; empty for all
	Rows    []signedRow
	First   string // the address of the first page; empty on the first page
	Next    string // the address of the next page; empty on the last page
}

// signedRow is a version that the PI has signed.
type signedRow struct {
	review.SignedVersion
	Granted  bool   // whether the PI may see the case and the assessment
	Case     string // the address of the case
	Receipt  string // the address of the receipt
	Received string // how far the event got
}

// Recorded returns the response that is recorded.
func (r signedRow) Recorded() recist.Response { return recist.Response(r.Assessment.Conclusion) }

// Superseded reports whether the version was available until its case was signed in a higher
// revision.
func (r signedRow) Superseded() bool { return r.Last && !r.Available && r.Withdrawal == nil }

// Replaced reports whether a later version of the assessment was signed.
func (r signedRow) Replaced() bool { return !r.Last && r.Withdrawal == nil }

// signed answers with what the PI has signed, also in studies that are not granted any more.
func (d *Desk) signed(w http.ResponseWriter, q *request) error {
	_, study, err := q.chosenStudies()
	if err != nil {
		return err
	}
	before, err := q.after()
	if err != nil {
		return err
	}
	versions, err := d.outbox.Reviews().Signed(q.Context(), review.SignedFilter{User: q.pi.User, Study: study, Before: before, Limit: signedPerPage + 1})
	if err != nil {
		return err
	}
	progress, err := d.outbox.Receipts().Progress(q.Context())
	if err != nil {
		return err
	}
	p := signedPage{Studies: q.pi.Studies, Study: study}
	for _, v := range versions[:min(len(versions), signedPerPage)] {
		a := v.Assessment
		r := signedRow{SignedVersion: v, Granted: slices.Contains(q.pi.Studies, a.Study), Case: casePath(a.Study, a.Case.ID)}
		r.Receipt = r.Case + "?" + url.Values{"signed": {v.Publication.Event}}.Encode()
		r.Received = received(v.Publication.StreamSequence, progress.Receivers(a.Study, v.Publication.StreamSequence))
		p.Rows = append(p.Rows, r)
	}
	query := url.Values{}
	if study != "" {
		query.Set("study", study)
	}
	if before > 0 {
		p.First = address("/signed", query, 0)
	}
	if len(versions) > signedPerPage {
		p.Next = address("/signed", query, versions[signedPerPage-1].Position)
	}
	return pages.Write(w, http.StatusOK, "signed", d.frame(q, "signed", "What you signed", p))
}

// received returns how far an event got. A sequence of 0 is that of an event that is not
// published.
func received(sequence uint64, receivers []receipts.Receiver) string {
	if sequence == 0 {
		return "not published yet"
	}
	if len(receivers) == 0 {
		return "published; no partner subscribes to the study"
	}
	acknowledged := 0
	for _, r := range receivers {
		if r.State == receipts.Acknowledged {
			acknowledged++
		}
	}
	return fmt.Sprintf("published; acknowledged by %d of %s", acknowledged, page.Count(len(receivers), "partner"))
}
