package chart_test

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
)

// anyCase draws a case: up to 26 visits at any distances, with sums, gaps, new lesions,
// and progression of non-target lesions anywhere.
func anyCase(t *rapid.T) []chart.Visit {
	sum := rapid.OneOf(rapid.IntRange(0, 30), rapid.IntRange(0, 3000), rapid.IntRange(400, 600))
	response := rapid.SampledFrom([]string{"", "CR", "PR", "SD", "PD", "NE", "NN"})
	date := time.Date(2013, 10, 2, 0, 0, 0, 0, time.UTC)
	var assessments []events.Assessment
	waiting := map[string]bool{}
	for n := range rapid.IntRange(1, 26).Draw(t, "visits") {
		text := date.Format(time.DateOnly)
		if rapid.IntRange(0, 30).Draw(t, "date") == 0 {
			text = text[:rapid.SampledFrom([]int{4, 7}).Draw(t, "precision")]
		}
		date = date.AddDate(0, 0, rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(40, 90)).Draw(t, "days"))
		value := events.Decimal(strconv.FormatFloat(float64(sum.Draw(t, "sum"))/10, 'f', rapid.IntRange(1, 3).Draw(t, "digits"), 64))
		if rapid.IntRange(0, 5).Draw(t, "evaluable") == 0 {
			value = ""
		}
		a := visit(n, text, response.Draw(t, "response"), target("T01", "Liver", value))
		if value != "" {
			a = summed(a, value)
		}
		for i := range rapid.SampledFrom([]int{0, 0, 0, 1, 2, 20}).Draw(t, "new") {
			a.Lesions = append(a.Lesions, newLesion("N"+strconv.Itoa(n*20+i)))
		}
		if rapid.IntRange(0, 3).Draw(t, "non-target") == 0 {
			a.Lesions = append(a.Lesions, nonTarget("NT01", "Uneqv. prog."))
		}
		waiting[a.ID] = rapid.Bool().Draw(t, "waits")
		assessments = append(assessments, a)
	}
	return checkedVisits(assessments, func(id string) bool { return waiting[id] })
}

// However the visits of a case lie, nothing is drawn outside of the plot, and no label over
// another.
func TestAnyCaseCanBeDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := anyCase(t)
		cases := []chart.Case{{Label: "1", Visits: visits}, {Label: "2", Visits: visits}, {Label: "300", Visits: anyCase(t)}}
		for _, size := range []chart.Size{chart.Wide, chart.Narrow} {
			for _, svg := range []string{
				string(chart.Plot("p", size, visits)), string(chart.Waterfall("w", size, cases)), string(chart.Spider("s", size, cases)),
				string(chart.Spark("q", visits)), string(chart.Trend(visits, "T01")),
			} {
				if svg == "" {
					continue
				}
				if err := check(svg); err != nil {
					t.Fatalf("%v\n%s", err, svg)
				}
			}
		}
	})
}
