package desk

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/casetable"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
	"github.com/seed-e88a4ece/signoff/outbox/desk/checkpanel"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signform"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// showCase answers with the page of a case, on which a PI sees what is signed, or with the
// receipt of a sign-off of it.
func (d *Desk) showCase(w http.ResponseWriter, q *request) error {
	if q.URL.Query().Has("signed") {
		return d.showReceipt(w, q, q.PathValue("key"), q.caseNumber())
	}
	c, err := d.readCase(q)
	if err != nil {
		return err
	}
	return d.writeCase(w, q, http.StatusOK, c, nil, nil, "")
}

// casePage is what the page of a case shows.
type casePage struct {
	Case           review.Case
	Path           string
	Place          review.Place
	Previous, Next string // paths; empty for none

	Notes   []caseNote // about the state of the case
	Since   casetable.Since
	Choices []choice // the visits that may be signed, if there are several
	Panels  []panel

	// Agreeing are the panels of visits that agree with RECIST 1.1, where there are several.
	// They take one line together.
	Agreeing []panel

	Others []choice // visits beside those of the panels that contradict RECIST 1.1

	Wide, Narrow template.HTML // the plot
	Table        casetable.Table
	Trends       map[string]template.HTML // by lesion

	Contents []content // what partners receive
	History  []historyLine
	Totals   review.Counts // of the lines of History

	Sign signform.Form
	Seen string // for a form, which sends it back
}

// Waits reports whether something is shown that is to be signed.
func (v *casePage) Waits() bool { return len(v.Contents) > 0 && v.Contents[0].Waits }

// One reports whether one visit is to be signed. Its column stays in view while the others
// are scrolled.
func (v *casePage) One() bool { return v.Waits() && len(v.Contents) == 1 }

// caseNote is a sentence about the state of the case.
type caseNote struct {
	Class   string // "", "ok", "warn"
	Heading string
	Items   []noteItem
}

// noteItem is a part of a note about one visit.
type noteItem struct {
	Visit string
	Text  string
	Quote string // what somebody typed
}

// choice is a link to a visit.
type choice struct {
	Name   string
	Path   string
	Chosen bool
	Waits  bool
}

// panel is what RECIST 1.1 gives for a visit.
type panel struct {
	checkpanel.Panel
	Waits bool
}

// content is what partners receive of a visit.
type content struct {
	*review.Version
	Waits   bool
	Changes events.Measurement
}

// historyLine is how much is stored of an assessment.
type historyLine struct {
	review.Counts
	Name string // of its visit; empty if nothing of it waits and nothing was signed
}

// writeCase answers with the page of a case. A form that was refused has the problem p and
// what was typed. ChangedSince is the stamp that the PI saw, if the case has another one
// now; then the page marks what changed. It finds that by the field "seen" of the form.
func (d *Desk) writeCase(w http.ResponseWriter, q *request, status int, c review.Case, p *page.Problem, typed url.Values, changedSince string) error {
	v, err := d.newCasePage(q, c, p, typed, changedSince)
	if err != nil {
		return err
	}
	f := d.frame(q, "waiting", "Subject "+c.Subject, v)
	f.Waiting, f.Problem, f.Live = v.Place.Total, p, liveOf(c.StudyKey, c.Number)
	return pages.Write(w, status, "case", f)
}

// newCasePage reads what the page of a case shows.
func (d *Desk) newCasePage(q *request, c review.Case, p *page.Problem, typed url.Values, changedSince string) (*casePage, error) {
	of := review.CaseOf{Study: c.Study, Number: c.Number}
	v := &casePage{Case: c, Path: casePath(c.Study, c.Number), Seen: casetable.Seen(c)}
	var err error
	if v.Place, err = d.outbox.Reviews().Place(q.Context(), q.pi.Studies, of); err != nil {
		return nil, err
	}
	if at := v.Place.Previous; at.Number > 0 {
		v.Previous = casePath(at.Study, at.Number)
	}
	if at := v.Place.Next; at.Number > 0 {
		v.Next = casePath(at.Study, at.Number)
	}
	received, err := d.outbox.Receipts().OfCase(q.Context(), c.Study, c.Number)
	if err != nil {
		return nil, err
	}
	signatures, err := d.outbox.Reviews().Signatures(q.Context(), of)
	if err != nil {
		return nil, err
	}
	if err := d.addHistory(q.Context(), v); err != nil {
		return nil, err
	}
	if changedSince != "" {
		v.Since, err = casetable.NewSince(c, typed.Get("seen"), func(id string) ([]review.Version, error) {
			return d.outbox.Reviews().VersionsIn(q.Context(), id, q.pi.Studies)
		})
		if err != nil {
			return nil, err
		}
	}
	asked := q.URL.Query()["sign"]
	if typed.Has("stamp") { // the form that was sent has its own choice
		asked = typed["sign"]
	}
	checked, chosen := d.outbox.Reviews().CheckOf(c), signform.Chosen(c, asked)
	v.addNotes(asked, chosen)
	v.addPanels(checked, chosen)
	v.addTable(casetable.Input{Case: c, Checked: checked, Chosen: chosen, Received: received, Signatures: signatures, Since: v.Since})
	if v.Sign, err = d.signForm(q, c, checked, chosen, p, typed); err != nil {
		return nil, err
	}
	return v, nil
}

// addNotes adds what the PI must know of the state of the case.
func (v *casePage) addNotes(asked, chosen []string) {
	missed := slices.ContainsFunc(asked, func(id string) bool { return id != "all" && !slices.Contains(chosen, id) })
	waits := slices.ContainsFunc(v.Case.Visits, func(visit review.Visit) bool { return visit.Waiting != nil })
	switch {
	case len(chosen) > 0 && missed:
		v.Notes = append(v.Notes, caseNote{Class: " warn", Heading: "A visit that you asked for cannot be signed now, or not together with the others"})
	case !waits:
		v.Notes = append(v.Notes, caseNote{Class: " ok", Heading: "Nothing of this case waits for you"})
	}
	stuck := caseNote{Class: " warn", Heading: "Cannot be signed, until the source registers it again"}
	if len(chosen) == 0 {
		stuck.Heading = "Nothing of this case can be signed, until the source registers it again"
	}
	withdrawn := caseNote{Class: " warn", Heading: "Withdrawn, and not counted"}
	for _, visit := range v.Case.Visits {
		if reason := v.Case.CannotSign(visit); reason != "" {
			stuck.Items = append(stuck.Items, noteItem{visit.Waiting.Assessment.Name, reason + ".", ""})
		}
		if visit.Signed != nil && visit.Signed.Withdrawal != nil && v.Case.InForce(visit) == nil {
			w := visit.Signed.Withdrawal
			withdrawn.Items = append(withdrawn.Items, noteItem{visit.Signed.Assessment.Name, "by " + w.Name + ", " + page.UTC(w.Time) + ":", w.Reason})
		}
	}
	for _, n := range []caseNote{stuck, withdrawn} {
		if len(n.Items) > 0 {
			v.Notes = append(v.Notes, n)
		}
	}
}

// addPanels adds what RECIST 1.1 gives for the chosen visits, or for the last one that
// counts if there are none, and links to the other visits.
func (v *casePage) addPanels(checked map[string]recist.Visit, chosen []string) {
	shown := chosen
	for _, visit := range v.Case.Visits {
		if len(chosen) == 0 && v.Case.InForce(visit) != nil {
			shown = []string{visit.ID}
		}
	}
	signable := 0
	for _, visit := range v.Case.Visits {
		version := v.Case.InForce(visit)
		if version == nil {
			continue
		}
		waits := version == visit.Waiting
		link := choice{Name: version.Assessment.Name, Path: "/assessments/" + visit.ID, Chosen: slices.Contains(chosen, visit.ID), Waits: waits}
		if waits {
			link.Path = v.Path + "?sign=" + url.QueryEscape(visit.ID)
			v.Choices = append(v.Choices, link)
			signable++
		}
		switch {
		case slices.Contains(shown, visit.ID):
			v.Panels = append(v.Panels, panel{checkpanel.Of(version.Assessment, checked[visit.ID], checked), waits})
		case checked[visit.ID].Contradicts():
			v.Others = append(v.Others, link)
		}
	}
	agrees := func(p panel) bool { return p.Level == checkpanel.Agrees }
	for _, p := range v.Panels {
		if agrees(p) {
			v.Agreeing = append(v.Agreeing, p)
		}
	}
	if len(v.Agreeing) > 1 {
		v.Panels = slices.DeleteFunc(v.Panels, agrees)
	} else {
		v.Agreeing = nil
	}
	if signable < 2 {
		v.Choices = nil
	} else if len(signform.Chosen(v.Case, []string{"all"})) > 1 {
		v.Choices = append(v.Choices, choice{Name: "All", Path: v.Path + "?sign=all", Chosen: len(chosen) > 1 && len(chosen) == len(signform.Chosen(v.Case, []string{"all"}))})
	}
}

// addTable adds the plot, the table and what partners receive of the chosen visits, or of
// the last one that counts if there are none.
func (v *casePage) addTable(in casetable.Input) {
	visits := casetable.Visits(v.Case, in.Checked)
	v.Wide, v.Narrow = chart.Plot("plot-wide", chart.Wide, visits), chart.Plot("plot-narrow", chart.Narrow, visits)
	v.Table = casetable.New(in)
	v.Trends = make(map[string]template.HTML)
	for _, s := range v.Table.Sections {
		for _, r := range s.Rows {
			if r.Trend != "" {
				v.Trends[r.Trend] = chart.Trend(visits, r.Trend)
			}
		}
	}
	for _, visit := range v.Case.Visits {
		version := v.Case.InForce(visit)
		switch {
		case version == nil:
		case slices.Contains(in.Chosen, visit.ID):
			v.Contents = append(v.Contents, contentOf(version))
		case len(in.Chosen) == 0:
			v.Contents = []content{contentOf(version)}
		}
	}
}

func contentOf(version *review.Version) content {
	c := content{Version: version, Waits: version.State == review.VersionWaiting}
	c.Changes = events.Measurement{ChangeFromPrevious: events.NoChange, ChangeFromBaseline: events.NoChange, ChangeFromNadir: events.NoChange}
	if m := version.Assessment.Measurement; m != nil {
		c.Changes = *m
	}
	return c
}

// addHistory adds how much is stored of each assessment of the case.
func (d *Desk) addHistory(ctx context.Context, v *casePage) error {
	counts, err := d.outbox.Reviews().Counts(ctx, review.CaseOf{Study: v.Case.Study, Number: v.Case.Number})
	if err != nil {
		return err
	}
	names := make(map[string]string, len(v.Case.Visits))
	for _, visit := range v.Case.Visits {
		for _, version := range []*review.Version{visit.Waiting, visit.Signed} {
			if version != nil && names[visit.ID] == "" {
				names[visit.ID] = version.Assessment.Name
			}
		}
	}
	for _, c := range counts {
		v.History = append(v.History, historyLine{c, names[c.ID]})
		v.Totals.Versions += c.Versions
		v.Totals.Signatures += c.Signatures
		v.Totals.Withdrawals += c.Withdrawals
		v.Totals.Lines += c.Lines
	}
	return nil
}
