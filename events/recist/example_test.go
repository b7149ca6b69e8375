package recist_test

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// A host program checks a case before a PI signs a visit of it. What contradicts RECIST 1.1
// is shown, and signed with a reason, which goes into outbox.SignOff.Remarks.
func ExampleCheck() {
	visit := func(name string, timepoint int32, diameter events.Decimal, conclusion string) events.Assessment {
		return events.Assessment{
			ID: fmt.Sprint(7100 + timepoint), Name: name, Timepoint: timepoint, Conclusion: conclusion,
			Lesions: []events.Lesion{{ID: "T01", Category: "Target", Organ: "Liver", State: "Present", Value: diameter, Unit: events.Unit}},
		}
	}
	for _, v := range recist.Check([]events.Assessment{
		visit(events.Baseline, 0, "73", "No"),
		visit(events.FollowUp(1), 1, "40.0", "Partial Response"),
		visit(events.FollowUp(2), 2, "50", "Partial Response"),
	}) {
		fmt.Printf("%s: %s from the nadir\n", v.Name, recist.Percent(v.Nadir, v.Sum))
		for _, f := range v.Findings {
			fmt.Printf("%s: %s\n", f.Level, f.Text)
		}
	}
	// Output:
	// Baseline: -- from the nadir
	// Follow-up 1: -45.2 % from the nadir
	// Follow-up 2: +25.0 % from the nadir
	// contradiction: Partial Response is recorded, RECIST 1.1 gives Progressive Disease: the sum is 50 mm, +10 mm (+25.0 %) from the smallest before, 40 mm at Follow-up 1
}
