package desk

import (
	"net/http"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signform"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// receiptPage is what the page of a sign-off shows.
type receiptPage struct {
	Subject, Study string
	Case, Revision int32
	Path           string // of the case; empty where the PI may not see it any more
	Self           string // path and query of this page
	Versions       []receiptVersion
	Mine           bool // whether the PI has signed it
	Signature      events.Signature
	Parked         bool
	Receivers      []receipts.Receiver  // of the last event of the sign-off
	Next           *review.QueuedCase   // that waits; nil for none
	Withdraw       *signform.Withdrawal // nil where nothing can be withdrawn here
}

// receiptVersion is a version that was signed.
type receiptVersion struct {
	review.Version
	review.Receipt
	Derived recist.Response // what RECIST 1.1 gives now; empty if the findings are not those of the sign-off any more
}

// Published reports whether the broker has stored each event of the sign-off.
func (p receiptPage) Published() bool {
	return !slices.ContainsFunc(p.Versions, func(v receiptVersion) bool { return v.Publication.StreamSequence == 0 })
}

// Title names the visits that were signed, and what became of them.
func (p receiptPage) Title() string {
	var signed, withdrawn []string
	for _, v := range p.Versions {
		signed = append(signed, v.Assessment.Name)
		if v.Withdrawal != nil {
			withdrawn = append(withdrawn, v.Assessment.Name)
		}
	}
	text := signform.Join(signed) + verb(len(signed)) + " signed"
	switch {
	case !p.Published():
		text += ", not published yet"
	case len(withdrawn) == 0:
		text += " and published"
	}
	switch len(withdrawn) {
	case 0:
		return text
	case len(signed):
		return text + ", and withdrawn"
	default:
		return text + "; " + signform.Join(withdrawn) + verb(len(withdrawn)) + " withdrawn"
	}
}

// verb returns what follows so many names.
func verb(names int) string {
	if names > 1 {
		return " are"
	}
	return " is"
}

// Class returns the class of the note with the title.
func (p receiptPage) Class() string {
	switch {
	case slices.ContainsFunc(p.Versions, func(v receiptVersion) bool { return v.Withdrawal != nil }):
		return "bad"
	case !p.Published():
		return "warn"
	default:
		return "ok"
	}
}

// showReceipt answers with the page of the sign-off that the event in the query names. It
// is for whoever is granted the study, and for the signer after a grant has ended too.
func (d *Desk) showReceipt(w http.ResponseWriter, q *request, key string, number int32) error {
	p, c, err := d.readReceipt(q, key, number, q.URL.Query().Get("signed"))
	if err != nil {
		return hidden(err, errNoCase)
	}
	if p.Path != "" && len(p.Versions) == 1 {
		p.Withdraw = signform.NewWithdrawal(c, p.Versions[0].Assessment.ID, d.credentials(q, signform.WithdrawPrefix, nil, nil), nil, nil)
	}
	f := d.frame(q, "", p.Title(), p)
	if p.Path != "" {
		f.Live = liveOf(key, number)
	}
	return pages.Write(w, http.StatusOK, "receipt", f)
}

// readReceipt returns what the page of a sign-off shows, and the case as it is now.
func (d *Desk) readReceipt(q *request, key string, number int32, event string) (p receiptPage, c review.Case, err error) {
	if number == 0 || event == "" {
		return p, c, errNoCase
	}
	reviews := d.outbox.Reviews()
	versions, err := reviews.SignedTogether(q.Context(), key, number, event)
	if err != nil {
		return p, c, err
	}
	a := versions[0].Assessment
	granted := slices.Contains(q.pi.Studies, a.Study)
	p = receiptPage{
		Subject: a.Subject, Study: a.Study, Case: number, Revision: a.Case.Revision, Self: q.URL.RequestURI(),
		Mine: versions[0].Signature.User == q.pi.User, Signature: *versions[0].Signature,
	}
	if !granted && !p.Mine {
		return p, c, errNoCase
	}
	if p.Parked, err = d.parked(q.Context(), a.Study); err != nil {
		return p, c, err
	}
	if c, err = reviews.Case(q.Context(), a.Study, number); err != nil {
		return p, c, err
	}
	if p.Versions, err = d.receiptVersions(q, c, versions); err != nil {
		return p, c, err
	}
	last := p.Versions[len(p.Versions)-1]
	progress, err := d.outbox.Receipts().Progress(q.Context())
	if err != nil {
		return p, c, err
	}
	p.Receivers = progress.Receivers(a.Study, last.Publication.StreamSequence)
	if !granted {
		return p, c, nil
	}
	p.Path = casePath(a.Study, number)
	p.Next, err = d.nextCase(q, a.Study, number)
	return p, c, err
}

// receiptVersions returns the versions with what is stored of their sign-off. The case c is
// as it is now.
func (d *Desk) receiptVersions(q *request, c review.Case, versions []review.Version) (shown []receiptVersion, err error) {
	checked := c.Check()
	for _, v := range versions {
		r := receiptVersion{Version: v}
		if r.Receipt, err = d.outbox.Reviews().Receipt(q.Context(), v.Assessment.ID, v.Publication.Event); err != nil {
			return nil, err
		}
		// The response is shown only if the check says now what it said then.
		if now := checked[v.Assessment.ID]; len(r.Findings) > 0 && slices.Equal(review.Contradictions(now), r.Findings) {
			r.Derived = now.Derived
		}
		shown = append(shown, r)
	}
	return shown, nil
}

// nextCase returns the case that waits longest for the PI, other than this one, or nil.
func (d *Desk) nextCase(q *request, study string, number int32) (*review.QueuedCase, error) {
	queue, err := d.outbox.Reviews().Queue(q.Context(), review.QueueFilter{Studies: q.pi.Studies, Limit: 2})
	for i := range queue {
		if queue[i].Study != study || queue[i].Number != number {
			return &queue[i], nil
		}
	}
	return nil, err
}

// sentenceOf returns the text of a finding as it is stored, without its code.
func sentenceOf(finding string) string {
	if _, text, ok := strings.Cut(finding, ": "); ok {
		return text
	}
	return finding
}

// Sentences returns what contradicted the version when it was signed.
func (v receiptVersion) Sentences() (texts []string) {
	for _, finding := range v.Findings {
		texts = append(texts, sentenceOf(finding))
	}
	return texts
}

// Recorded returns the response as it is recorded.
func (v receiptVersion) Recorded() recist.Response { return recist.Response(v.Assessment.Conclusion) }
