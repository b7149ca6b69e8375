package desk

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/changes"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signform"
	"github.com/seed-e88a4ece/signoff/outbox/desk/trail"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// assessmentPage is what the history of an assessment shows.
type assessmentPage struct {
	Case     review.Case
	Path     string // of the case
	ID, Name string
	Status   string           // what the assessment is now
	Versions []historyVersion // the latest first
	Lines    []trail.Line
	Withdraw *signform.Withdrawal // nil where nothing can be withdrawn
}

// historyVersion is a version of an assessment in its history.
type historyVersion struct {
	review.Version
	First      bool     // whether there is none before
	Changes    []string // since the version before
	Receipt    review.Receipt
	Path       string      // of the receipt of its sign-off
	Superseded []time.Time // when a higher case revision took it back
}

// Sentences returns what contradicted the version when it was signed.
func (v historyVersion) Sentences() []string {
	return receiptVersion{Receipt: v.Receipt}.Sentences()
}

// assessment answers with the history of an assessment, or with the receipt of a sign-off
// of it.
func (d *Desk) assessment(w http.ResponseWriter, q *request) error {
	c, v, err := d.grantedAssessment(q)
	if q.URL.Query().Has("signed") && events.ValidFHIRID(q.PathValue("id")) {
		if c, _, err := d.outbox.Reviews().Assessment(q.Context(), q.PathValue("id")); err == nil {
			return hidden(d.showReceipt(w, q, c.StudyKey, c.Number), errNoAssessment)
		}
	}
	if err != nil {
		return err
	}
	return d.writeAssessment(w, q, http.StatusOK, c, v, nil, nil)
}

// writeAssessment answers with the history of an assessment. Typed is a withdrawal that was
// sent and refused, or nil.
func (d *Desk) writeAssessment(w http.ResponseWriter, q *request, status int, c review.Case, v review.Visit, p *page.Problem, typed url.Values) error {
	versions, err := d.outbox.Reviews().VersionsIn(q.Context(), v.ID, q.pi.Studies)
	if err != nil {
		return err
	}
	lines, err := d.outbox.Reviews().Trail(q.Context(), v.ID, q.pi.Studies)
	if err != nil {
		return err
	}
	data := assessmentPage{
		Case: c, Path: casePath(c.Study, c.Number), ID: v.ID, Name: versions[len(versions)-1].Assessment.Name, Status: statusOf(v, versions),
		Withdraw: signform.NewWithdrawal(c, v.ID, d.credentials(q, signform.WithdrawPrefix, p, typed), p, typed),
	}
	for i, version := range versions {
		h := historyVersion{Version: version, First: i == 0}
		if i > 0 {
			h.Changes = changes.Between(versions[i-1].Assessment, version.Assessment)
		}
		if version.Signature != nil {
			h.Path = receiptPath(v.ID, version.Publication.Event)
			if h.Receipt, err = d.outbox.Reviews().Receipt(q.Context(), v.ID, version.Publication.Event); err != nil {
				return err
			}
			h.Superseded = superseded(version, versions, lines)
		}
		data.Versions = append(data.Versions, h)
	}
	slices.Reverse(data.Versions)
	for _, l := range lines {
		e := outbox.AuditEntry{Number: l.Number, Time: l.Time, Actor: l.Actor, Action: l.Action, Study: l.Study, Subject: v.ID, Detail: l.Detail}
		data.Lines = append(data.Lines, trail.Describe(e, outbox.Reader{User: q.pi.User, Studies: q.pi.Studies}))
	}
	f := d.frame(q, "", data.Name+" of "+c.Subject, data)
	f.Problem, f.Live = p, liveOf(c.StudyKey, c.Number)
	return pages.Write(w, status, "assessment", f)
}

// statusOf returns what an assessment is now, as part of a sentence.
func statusOf(v review.Visit, versions []review.Version) string {
	switch last := versions[len(versions)-1]; {
	case v.Waiting != nil:
		return "waits for its sign-off"
	case last.Return != nil:
		return "was returned to its source"
	case v.Signed != nil && v.Signed.Withdrawal != nil:
		return "is withdrawn"
	case v.Signed != nil && v.Signed.Available:
		return "is signed"
	case v.Signed != nil:
		return "was taken back, because its case moved to a higher revision"
	}
	return "does not wait"
}

// superseded returns when a signed version was taken back by a higher case revision, which
// is before the next version of the assessment was signed.
func superseded(v review.Version, versions []review.Version, lines []review.TrailLine) (times []time.Time) {
	var until time.Time
	for _, other := range versions {
		if other.Signature != nil && other.Signature.Time.After(v.Signature.Time) && (until.IsZero() || other.Signature.Time.Before(until)) {
			until = other.Signature.Time
		}
	}
	for _, l := range lines {
		if l.Action == "report.superseded" && l.Time.After(v.Signature.Time) && (until.IsZero() || l.Time.Before(until)) {
			times = append(times, l.Time)
		}
	}
	return times
}
