package review

import (
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// Check returns what RECIST 1.1 gives for each visit of the case, by assessment id. It
// compares the versions in force, and leaves out visits that have none.
func (c Case) Check() map[string]recist.Visit {
	var visits []events.Assessment
	for _, v := range c.Visits {
		if version := c.InForce(v); version != nil {
			visits = append(visits, version.Assessment)
		}
	}
	checked := make(map[string]recist.Visit, len(visits))
	for _, v := range recist.Check(visits) {
		checked[v.Assessment] = v
	}
	return checked
}
