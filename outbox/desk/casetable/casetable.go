// Package casetable makes the table of a case: a column for each visit, and rows for the
// lesions, the sum and its changes, the responses and the signatures.
//
// The table is a pure function of the case, of what RECIST 1.1 gives for it and of how far
// partners received it. Values and changes are texts exactly as they were registered, so
// that what a PI sees is what is published. What the package computes itself stands beside
// them and is marked as such: the change of a lesion, the percentage of a change.
package casetable

import (
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Input is what a table is made from.
type Input struct {
	Case    review.Case
	Checked map[string]recist.Visit // by assessment id, as Case.Check returns it
	Chosen  []string                // ids of the visits that the PI is about to sign

	// Received has, by assessment id, which partners have received it.
	Received map[string]*receipts.Reception

	// Signatures are those of all versions of the case, in the order of signing.
	Signatures []review.SignatureRecord

	// Since is what happened since the PI saw the case, where the table marks that.
	Since Since
}

// Table is the table of a case.
type Table struct {
	Columns    []Column
	Sections   []Section // the lesions by kind, and the responses
	Signatures []Signing // by column
}

// State is what the version of a column is.
type State string

// States of a column.
const (
	Waits     State = "waits"     // for its sign-off, and counts
	Signed    State = "signed"    // and counts
	Withdrawn State = "withdrawn" // signed and withdrawn; it does not count
	MovedOn   State = "moved on"  // it waits but cannot be signed; it does not count
)

// Column is a visit, in the version that counts if there is one.
type Column struct {
	ID           string
	Name         string
	Date         string // as registered
	Timepoint    int32
	OddName      bool // the name does not fit the timepoint
	Version      events.Version
	SeveralCases bool // the visits of the table are of several case revisions
	State        State
	Chosen       bool
	Since        string // what happened since the PI saw the case; empty for nothing

	// Earlier is what "was" in a cell means: "signed" or "shown before". It is empty where
	// there is nothing to compare with.
	Earlier string

	shown   *review.Version
	checked *recist.Visit      // nil if the version does not count
	earlier *events.Assessment // what the cells are compared with; nil for nothing
}

// Class returns the class that the cells of the column have.
func (c Column) Class() string {
	switch {
	case c.Chosen:
		return " now"
	case c.State == Waits:
		return " waits"
	case c.State == Signed:
		return ""
	default:
		return " off"
	}
}

// Section is rows with a heading.
type Section struct {
	Heading string
	Rows    []Row
	None    string // said instead of rows where there are none
}

// Kind of a row.
type Kind string

// Kinds of rows.
const (
	Lesion Kind = "lesion"
	Total  Kind = "tot"
	Change Kind = "chg"
	Plain  Kind = "plain"
)

// Row is a row of the table.
type Row struct {
	Kind   Kind
	ID     string // of the lesion
	Name   string // its organ, or what the row is
	Detail string // small, below the name
	Trend  string // the id of the lesion of which a trend is drawn; empty for none
	Cells  []Cell
}

// Tone is how much a text in a cell stands out.
type Tone string

// Tones. Each is bold besides its colour.
const (
	Ordinary Tone = ""
	Bad      Tone = "bad"  // it contradicts RECIST 1.1, or is progression
	Warn     Tone = "warn" // it was not evaluated, or is missed
	Quiet    Tone = "soft"
)

// Cell is what the table has of a row at a visit.
type Cell struct {
	Class    string // of its column
	Text     string
	Tone     Tone
	Response recist.Response // shown as a chip instead of the text
	Change   string          // computed, beside the text
	Notes    []Note          // below the text
	Changed  bool            // from the version with which the column is compared
	Was      string          // the text of that version; empty if the text is the same, but other details are not
}

// Note is a small text in a cell.
type Note struct {
	Text string
	Tone Tone
}

// Signing is what was done with a visit.
type Signing struct {
	Waiting    *review.Version // nil if none waits
	CannotSign string          // why the waiting version cannot be signed; empty if it can

	Signed    *review.Version          // the version signed last; nil for none
	Older     bool                     // the column shows a later version than the signed one
	Earlier   []review.SignatureRecord // of versions signed before that one, in the order of signing
	TakenBack bool                     // partners do not have the signed version, though it was not withdrawn

	Received *receipts.Reception // nil if nothing was signed
}

// Acknowledged returns how many partners have acknowledged the last event of the visit.
func (s Signing) Acknowledged() (n int) {
	for _, r := range s.Received.Receivers {
		if r.State == receipts.Acknowledged {
			n++
		}
	}
	return n
}

// Earlier reports whether there are signatures of versions before the ones signed last.
func (t Table) Earlier() bool {
	return slices.ContainsFunc(t.Signatures, func(s Signing) bool { return len(s.Earlier) > 0 })
}

// New returns the table of a case.
func New(in Input) Table {
	var t Table
	for _, v := range in.Case.Visits {
		c, ok := in.column(v)
		if !ok {
			continue
		}
		t.Columns = append(t.Columns, c)
		t.Signatures = append(t.Signatures, in.signing(v, c))
	}
	several := slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Version.CaseRevision != t.Columns[0].Version.CaseRevision })
	for i := range t.Columns {
		t.Columns[i].SeveralCases = several
	}
	t.Sections = append(lesionSections(t.Columns), responses(t.Columns))
	for _, s := range t.Sections {
		for _, r := range s.Rows {
			for i := range r.Cells {
				r.Cells[i].Class = t.Columns[i].Class()
			}
		}
	}
	return t
}

// column returns the column of a visit; false if nothing of it is stored.
func (in Input) column(v review.Visit) (Column, bool) {
	c := Column{ID: v.ID, Chosen: slices.Contains(in.Chosen, v.ID), shown: in.Case.InForce(v)}
	switch {
	case c.shown != nil && c.shown == v.Waiting:
		c.State = Waits
	case c.shown != nil:
		c.State = Signed
	case v.Waiting != nil:
		c.State, c.shown = MovedOn, v.Waiting
	case v.Signed != nil:
		c.State, c.shown = Withdrawn, v.Signed
	default:
		return c, false
	}
	a := c.shown.Assessment
	c.Name, c.Date, c.Timepoint, c.Version = a.Name, a.Effective, a.Timepoint, a.Version()
	c.OddName = a.Timepoint > 0 && a.Name != events.FollowUp(int(a.Timepoint))
	if r, ok := in.Checked[v.ID]; ok && (c.State == Waits || c.State == Signed) {
		c.checked = &r
	}
	in.compareWith(&c, v)
	return c, true
}

// compareWith sets what the cells of the column are compared with: what the page showed
// before, or else the signed version where a later one waits.
func (in Input) compareWith(c *Column, v review.Visit) {
	if in.Since.Changed {
		c.Since = in.Since.Texts[v.ID]
		if seen, known := in.Since.Shown[v.ID]; known {
			c.Earlier, c.earlier = "shown before", &seen
		}
		return
	}
	if c.State == Waits && v.Signed != nil {
		c.Earlier, c.earlier = "signed", &v.Signed.Assessment
	}
}

// signing returns what was done with a visit, for the column c.
func (in Input) signing(v review.Visit, c Column) Signing {
	s := Signing{Waiting: v.Waiting, CannotSign: in.Case.CannotSign(v), Signed: v.Signed}
	s.Older = v.Signed != nil && c.shown != v.Signed
	s.TakenBack = v.Signed != nil && v.Signed.Withdrawal == nil && !v.Signed.Available
	if v.Signed != nil {
		s.Received = in.Received[v.ID]
		for _, g := range in.Signatures {
			// One that was signed after the case was read is not earlier.
			if g.Assessment == v.ID && g.Time.Before(v.Signed.Signature.Time) {
				s.Earlier = append(s.Earlier, g)
			}
		}
	}
	return s
}

// Visits returns the visits that count, for a plot of the case. It counts no version that
// was withdrawn or has moved on.
func Visits(c review.Case, checked map[string]recist.Visit) []chart.Visit {
	var visits []chart.Visit
	for _, v := range c.Visits {
		if version := c.InForce(v); version != nil {
			visits = append(visits, chart.Visit{Assessment: version.Assessment, Result: checked[v.ID], Waits: version == v.Waiting})
		}
	}
	return visits
}
