package desk

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/queue"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Bounds of the page of what waits.
const (
	casesPerPage = 50

	// maxChecked is up to how many waiting cases the contradictions among them are counted,
	// and how many cases are searched for contradictions for one page.
	maxChecked = 500
)

// showContradictions is the value of the parameter show for contradictions only; "all" and
// none are everything.
const showContradictions = "contradictions"

// waitingPage is what the page of what waits shows.
type waitingPage struct {
	Studies []string // that are granted
	Study   string   // that was chosen; empty for all
	Only    bool     // contradictions only
	Size    review.QueueSize
	Head    string
	Rows    []queue.Row
	Range   string
	Search  bool   // whether more is to be searched, although the page is not full
	First   string // the address of the first page; empty on the first page
	Next    string // the address of the next page; empty on the last page
}

// waiting answers with the cases in which something waits for the PI.
func (d *Desk) waiting(w http.ResponseWriter, q *request) error {
	studies, study, err := q.chosenStudies()
	if err != nil {
		return err
	}
	after, err := q.after()
	if err != nil {
		return err
	}
	p := waitingPage{Studies: q.pi.Studies, Study: study}
	switch q.URL.Query().Get("show") {
	case "", "all":
	case showContradictions:
		p.Only = true
	default:
		return events.Errorf(events.Invalid, "The parameter show is all or %s.", showContradictions)
	}
	filter := review.QueueFilter{Studies: studies, After: after}
	if p.Size, err = d.outbox.Reviews().QueueSize(q.Context(), filter); err != nil {
		return err
	}
	last, seen, more, err := d.fillWaiting(q.Context(), &p, filter)
	if err != nil {
		return err
	}
	p.Head = p.head(q, len(studies))
	if n, ok, err := d.contradictions(q.Context(), p, studies, after == 0 && !more); err != nil {
		return err
	} else if ok && p.Size.Cases > 0 {
		p.Head += " · " + contradict(n)
	}
	p.Range = p.rangeText(seen)
	if after > 0 {
		p.First = p.address(0)
	}
	if more {
		p.Next = p.address(last)
		p.Search = p.Only && len(p.Rows) < casesPerPage
	}
	f := d.frame(q, "waiting", "Waiting for your sign-off", p)
	f.Live = livePath
	return pages.Write(w, http.StatusOK, "waiting", f)
}

// fillWaiting adds the rows of a page. Last is the position of the last case that was read,
// from where the next page goes on, so that none is skipped; seen is how many were read, and
// more reports whether cases are left.
func (d *Desk) fillWaiting(ctx context.Context, p *waitingPage, filter review.QueueFilter) (last int64, seen int, more bool, err error) {
	err = d.eachWaiting(ctx, filter, casesPerPage, func(c review.QueuedCase) bool {
		if len(p.Rows) == casesPerPage || seen == maxChecked {
			more = true
			return false
		}
		seen, last = seen+1, c.Position
		if checked := c.Check(); !p.Only || queue.Contradicting(c.Case, checked) > 0 {
			p.Rows = append(p.Rows, queue.NewRow("case-"+strconv.Itoa(len(p.Rows)+1), c, checked))
		}
		return true
	})
	return last, seen, more, err
}

// eachWaiting calls fn with the cases of the queue, read in groups of n and one more, until
// it returns false.
func (d *Desk) eachWaiting(ctx context.Context, f review.QueueFilter, n int, fn func(review.QueuedCase) bool) error {
	for f.Limit = n + 1; ; {
		cases, err := d.outbox.Reviews().Queue(ctx, f)
		if err != nil {
			return err
		}
		for _, c := range cases {
			if !fn(c) {
				return nil
			}
			f.After = c.Position
		}
		if len(cases) < f.Limit {
			return nil
		}
	}
}

// contradictions returns how many of the versions that wait contradict RECIST 1.1. Ok is
// false if too many cases wait to be checked for this. Complete reports whether the page has
// all of them.
func (d *Desk) contradictions(ctx context.Context, p waitingPage, studies []string, complete bool) (n int, ok bool, err error) {
	for _, r := range p.Rows {
		n += r.Contradicting
		d.contradicting.Add(r.Case.Stamp, r.Contradicting)
	}
	if complete {
		return n, true, nil
	}
	n = 0
	if p.Size.Cases > maxChecked {
		return 0, false, nil
	}
	cases, err := d.outbox.Reviews().Stamps(ctx, studies)
	if err != nil {
		return 0, false, err
	}
	for _, c := range cases {
		found, known := d.contradicting.Get(c.Stamp)
		if !known {
			if found, err = d.check(ctx, c.CaseOf); err != nil {
				return 0, false, err
			}
		}
		n += found
	}
	return n, true, nil
}

// check returns queue.Contradicting of a case, and 0 if it is not there any more. It keeps
// the number by the stamp of the case, on which alone it depends.
func (d *Desk) check(ctx context.Context, of review.CaseOf) (int, error) {
	c, err := d.outbox.Reviews().Case(ctx, of.Study, of.Number)
	if err != nil {
		if events.CodeOf(err) == events.NotFound {
			return 0, nil
		}
		return 0, err
	}
	n := queue.Contradicting(c, c.Check())
	d.contradicting.Add(c.Stamp, n)
	return n, nil
}

func contradict(n int) string {
	switch n {
	case 0:
		return "none contradicts RECIST 1.1"
	case 1:
		return "1 contradicts RECIST 1.1"
	default:
		return strconv.Itoa(n) + " contradict RECIST 1.1"
	}
}

// head returns how much waits. Granted is the number of studies that were looked at.
func (p waitingPage) head(q *request, granted int) string {
	if p.Size.Cases == 0 {
		return ""
	}
	in := ""
	if granted > 1 {
		in = " in " + page.Count(p.Size.Studies, "study")
	}
	return fmt.Sprintf("%s of %s%s · the oldest for %s",
		page.Count(p.Size.Assessments, "assessment"), page.Count(p.Size.Cases, "case"), in, page.Span(q.now.Sub(p.Size.Oldest)))
}

// rangeText returns which of the cases are on the page. Seen of them were read for it.
func (p waitingPage) rangeText(seen int) string {
	first, last := p.Size.Seen+1, p.Size.Seen+seen
	total := max(p.Size.Cases, last) // more were registered while the page was made
	switch {
	case seen == 0:
		return ""
	case p.Only:
		return fmt.Sprintf("Oldest first · %s with contradictions among cases %d–%d of %d", page.Count(len(p.Rows), "case"), first, last, total)
	default:
		return fmt.Sprintf("Oldest first · %d–%d of %s", first, last, page.Count(total, "case"))
	}
}

// address returns the address of the page that goes on after a position.
func (p waitingPage) address(after int64) string {
	query := url.Values{}
	if p.Study != "" {
		query.Set("study", p.Study)
	}
	if p.Only {
		query.Set("show", showContradictions)
	}
	return address("/waiting", query, after)
}

// address returns a path with a query in which after is a position; 0 is left out.
func address(path string, query url.Values, after int64) string {
	if after > 0 {
		query.Set("after", strconv.FormatInt(after, 10))
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// after returns the position in a list behind which a page begins; 0 for the first page.
func (q *request) after() (int64, error) {
	text := q.URL.Query().Get("after")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, events.Errorf(events.Invalid, "The parameter after is not a position of a list.")
	}
	return n, nil
}

// countWaiting returns how many cases wait for the PI, or -1 if they cannot be counted.
func (d *Desk) countWaiting(q *request) int {
	size, err := d.outbox.Reviews().QueueSize(q.Context(), review.QueueFilter{Studies: q.pi.Studies})
	if err != nil {
		d.cfg.Log.WarnContext(q.Context(), "cannot count what waits", "error", err)
		return -1
	}
	return size.Cases
}

// findPage is what the page of a search shows.
type findPage struct {
	Subject string
	Cases   []foundCase
	Many    bool // whether there are more than are shown
}

// foundCase is a case of the subject.
type foundCase struct {
	review.CaseOf
	Key string // of the study
}

// find answers with the cases of a subject, or goes to the only one. The subject is in the
// query or the form, never in a path, because paths are logged.
func (d *Desk) find(w http.ResponseWriter, q *request) error {
	p := findPage{Subject: strings.TrimSpace(q.FormValue("subject"))}
	if p.Subject == "" {
		f := d.frame(q, "waiting", "Find a subject", p)
		f.Problem = problem(page.ProblemItem{Field: "subject", Text: "Enter the id of a subject"})
		return pages.Write(w, http.StatusBadRequest, "find", f)
	}
	found, err := d.outbox.Reviews().Find(q.Context(), q.pi.Studies, p.Subject)
	if err != nil {
		return err
	}
	for _, c := range found {
		p.Cases = append(p.Cases, foundCase{c, events.StudyKey(c.Study)})
	}
	if len(found) == 1 {
		http.Redirect(w, q.Request, casePath(found[0].Study, found[0].Number), http.StatusSeeOther)
		return nil
	}
	p.Many = len(found) == review.MaxPerPage
	return pages.Write(w, http.StatusOK, "find", d.frame(q, "waiting", "Find a subject", p))
}
