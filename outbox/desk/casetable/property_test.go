package casetable_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/casetable"
	"github.com/seed-e88a4ece/signoff/outbox/desk/checkpanel"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// drawAssessment returns an assessment n visits after the baseline.
func drawAssessment(t *rapid.T, n int) events.Assessment {
	a := events.Assessment{
		ID: fmt.Sprint(7100 + n), Study: "S", Case: events.Case{ID: 71, Revision: rapid.Int32Range(1, 2).Draw(t, "case revision")},
		Revision: rapid.Int32Range(1, 2).Draw(t, "revision"), Name: events.Baseline, Timepoint: int32(n),
		Subject: rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "subject"), Effective: "2013-10", Conclusion: rapid.SampledFrom(events.Conclusions).Draw(t, "conclusion"),
	}
	if n > 0 {
		a.Name = events.FollowUp(n)
	}
	value := rapid.SampledFrom([]events.Decimal{"", "0", "5", "9.9", "10", "12.5", "1E2"})
	if v := value.Draw(t, "sum"); v != "" {
		changes := rapid.SampledFrom([]string{"--", "0.0 mm", "-5 mm", "+2.5 mm"})
		a.Measurement = &events.Measurement{
			Type: events.MeasurementType, Value: v, Unit: events.Unit,
			ChangeFromPrevious: changes.Draw(t, "previous"), ChangeFromBaseline: changes.Draw(t, "baseline"), ChangeFromNadir: changes.Draw(t, "nadir"),
		}
	}
	ids := rapid.SampledFrom([]string{"T01", "T02", "T02.1", "T02.2", "T01/T02", "T1", "N", "/", ".1", "T02.1.3"})
	for _, id := range rapid.SliceOfNDistinct(ids, 0, 6, func(id string) string { return id }).Draw(t, "lesions") {
		l := events.Lesion{
			ID: id, Category: rapid.SampledFrom(append([]string{""}, events.LesionCategories...)).Draw(t, "category"),
			State: rapid.SampledFrom(append([]string{""}, events.LesionStates...)).Draw(t, "state"), Value: value.Draw(t, "value"),
			Organ: rapid.SampledFrom([]string{"", "Liver", "Lymph node"}).Draw(t, "organ"), Label: rapid.SampledFrom(append([]string{""}, events.LesionLabels...)).Draw(t, "label"),
		}
		if l.Value != "" {
			l.Unit = events.Unit
		}
		a.Lesions = append(a.Lesions, l)
	}
	return a
}

// Whatever is stored of a case, each lesion of each visit is in the table, and each version
// that counts has a panel.
func TestEachLesionOfAnyCaseIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := review.Case{Study: "S", Number: 71, Subject: "a", Revision: rapid.Int32Range(0, 2).Draw(t, "signed case revision")}
		for n := range rapid.IntRange(0, 5).Draw(t, "visits") {
			v := review.Visit{ID: fmt.Sprint(7100 + n)}
			if rapid.Bool().Draw(t, "signed") {
				v.Signed = sign(version(drawAssessment(t, n), int64(2*n+1)))
				if rapid.Bool().Draw(t, "withdrawn") {
					v.Signed.Withdrawal = &review.WithdrawalRecord{Reason: "wrong scan"}
				}
			}
			if v.Signed == nil || rapid.Bool().Draw(t, "waits") {
				v.Waiting = version(drawAssessment(t, n), int64(2*n+2))
			}
			c.Visits = append(c.Visits, v)
		}
		checked := c.Check()
		since, err := casetable.NewSince(c, rapid.SampledFrom([]string{"", "7100:9:9:false 7101:0:3:true 9:1:1:false"}).Draw(t, "seen"), func(string) ([]review.Version, error) {
			return []review.Version{*version(drawAssessment(t, 0), 9)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		since.Changed = rapid.Bool().Draw(t, "changed")
		table := casetable.New(casetable.Input{Case: c, Checked: checked, Since: since})
		if len(table.Columns) != len(c.Visits) || len(table.Signatures) != len(c.Visits) {
			t.Fatalf("%d columns and %d signatures for %d visits", len(table.Columns), len(table.Signatures), len(c.Visits))
		}
		for i, v := range c.Visits {
			shown := c.InForce(v)
			if shown == nil {
				shown = v.Waiting
			}
			if shown == nil {
				shown = v.Signed
			}
			if lesions := lesionCells(t, table, i); lesions != len(shown.Assessment.Lesions) {
				t.Fatalf("%d of %d lesions of %s are shown:\n%s", lesions, len(shown.Assessment.Lesions), v.ID, text(table))
			}
			if r, counts := checked[v.ID]; counts {
				if p := checkpanel.Of(shown.Assessment, r, checked); p.Visit != shown.Assessment.Name || p.Level == checkpanel.Contradicts != r.Contradicts() {
					t.Fatalf("panel %+v of %+v", p, r)
				}
			}
		}
	})
}

// lesionCells returns in how many rows of lesions the i-th column has a value.
func lesionCells(t *rapid.T, table casetable.Table, i int) (n int) {
	for _, s := range table.Sections {
		for _, r := range s.Rows {
			if len(r.Cells) != len(table.Columns) {
				t.Fatalf("a row has %d cells", len(r.Cells))
			}
			if text := r.Cells[i].Text; r.Kind == casetable.Lesion && text != "–" && text != "no row" && (len(text) < 3 || text[:3] != "in ") {
				n++
			}
		}
	}
	return n
}
