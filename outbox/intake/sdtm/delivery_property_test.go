package sdtm_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// content returns what is registered, by VISITNUM, without what depends on the
// order of deliveries: ids and revisions.
func (r *registry) content() map[string]events.Assessment {
	out := map[string]events.Assessment{}
	for _, k := range r.known {
		a := k.Latest
		a.ID, a.Revision, a.Case.Revision = "", 0, 0
		out[k.Visit.Number] = a
	}
	return out
}

// deliver imports the visits one at a time and signs each.
func deliver(t *testing.T, visits [][]string) *registry {
	t.Helper()
	reg := newRegistry()
	for _, rows := range visits {
		reg.register(t, readSDTM(t, smallSet(rows...), sdtm.Options{}, reg))
		reg.sign()
	}
	return reg
}

func TestDeliveriesAddUpToTheWhole(t *testing.T) {
	drawVisits := func(t *rapid.T, results []string) [][]string {
		var visits [][]string
		for i := range rapid.IntRange(1, 6).Draw(t, "visits") {
			var rows []string
			date := fmt.Sprintf("2020-%02d-01", i+1)
			for _, target := range []string{"T01", "T02", "T03"} {
				if result := rapid.SampledFrom(results).Draw(t, target); result != "-" {
					rows = append(rows, fmt.Sprintf("TR A %d %s TARGET %s DIAMETER %s", i+1, date, target, result))
				}
			}
			rows = append(rows, fmt.Sprintf("TR A %d %s NON-TARGET N01 TUMSTATE PRESENT", i+1, date))
			if response := rapid.SampledFrom([]string{"-", "PR", "CHECK"}).Draw(t, "response"); response != "-" {
				rows = append(rows, fmt.Sprintf("RS A %d %s %s", i+1, date, response))
			}
			visits = append(visits, rows)
		}
		return visits
	}
	for name, c := range map[string]struct {
		results []string
		shuffle bool
	}{
		"visit by visit": {[]string{"-", "ND", "0", "5", "12.5", "30"}, false},
		"in any order, with the same target lesions": {[]string{"0", "5", "12.5", "30"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				visits := drawVisits(rt, c.results)
				whole := newRegistry()
				whole.register(t, readSDTM(t, smallSet(slices.Concat(visits...)...), sdtm.Options{}, whole))
				if c.shuffle {
					visits = rapid.Permutation(visits).Draw(rt, "order")
				}
				if diff := cmp.Diff(whole.content(), deliver(t, visits).content()); diff != "" {
					rt.Fatalf("%v: %s", visits, diff)
				}
			})
		})
	}
}
