package chart_test

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
)

// A page draws a case twice, for wide and for narrow screens, each with an id of its own.
func ExamplePlot() {
	baseline := events.Assessment{
		ID: "7100", Name: events.Baseline, Effective: "2013-10-02", Conclusion: "No",
		Lesions: []events.Lesion{{ID: "T01", Category: "Target", Organ: "Liver", State: "Present", Value: "73", Unit: events.Unit}},
	}
	visits := []chart.Visit{{Assessment: baseline, Result: recist.Check([]events.Assessment{baseline})[0], Waits: true}}
	for id, size := range map[string]chart.Size{"sum-wide": chart.Wide, "sum-narrow": chart.Narrow} {
		if chart.Plot(id, size, visits) == "" {
			fmt.Println("there is no visit")
		}
	}
	fmt.Println(chart.Trend(visits, "T01"))
	// Output:
	// <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 20" class="spark mini" aria-hidden="true"><circle class="pt" cx="61" cy="3" r="2.6"/></svg>
}
