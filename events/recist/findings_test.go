package recist_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

var update = flag.Bool("update", false, "write the golden file anew")

// conclude records responses at the visits from the first follow-up on.
func conclude(visits []events.Assessment, conclusions ...recist.Response) []events.Assessment {
	for i, c := range conclusions {
		visits[i+1].Conclusion = string(c)
	}
	return visits
}

// measure records a sum and its changes from previous, baseline and nadir at a visit.
func measure(a *events.Assessment, value, previous, baseline, nadir string) {
	a.Measurement = &events.Measurement{Type: events.MeasurementType, Value: events.Decimal(value), Unit: events.Unit,
		ChangeFromPrevious: previous, ChangeFromBaseline: baseline, ChangeFromNadir: nadir}
}

// situations are cases that together have every finding.
var situations = []struct {
	name   string
	visits func() []events.Assessment
}{
	{"a response below the baseline that is progression from the nadir", func() []events.Assessment {
		return conclude(caseOf("t 73 | 54 | 40 | 50"), recist.SD, recist.PR, recist.PR)
	}},
	{"a change that only looks like a threshold", func() []events.Assessment {
		return conclude(caseOf("t 84.5 | 59.18"), recist.PR)
	}},
	{"growth from a nadir of 0", func() []events.Assessment {
		return conclude(caseOf("t 40 | gone | 5"), recist.CR, recist.CR)
	}},
	{"a target that was not evaluated", func() []events.Assessment {
		visits := conclude(caseOf("t 50, 50 | 48, ne"), recist.PR)
		measure(&visits[1], "48", "--", "--", "--")
		return visits
	}},
	{"many targets without a row", func() []events.Assessment {
		return conclude(caseOf("t 10, 10, 10 | (no row), (no row), (no row)"), recist.SD)
	}},
	{"progression whatever the missing target adds", func() []events.Assessment {
		return conclude(caseOf("t 20, 20, 10 | 50, 30, ne"), recist.NE)
	}},
	{"a missing target about which may be argued", func() []events.Assessment {
		return conclude(caseOf("t 80, 11 | 30, ne"), recist.PR)
	}},
	{"a missing target that was gone", func() []events.Assessment {
		return conclude(caseOf("t 90, 40 | 52, gone | 52, ne"), recist.PR, recist.PR)
	}},
	{"a new lesion", func() []events.Assessment {
		return conclude(caseOf("t 100 | 50, w here, w here"), recist.PR)
	}},
	{"progression of a non-target", func() []events.Assessment {
		return conclude(caseOf("t 30, x here | 30, pd"), recist.SD)
	}},
	{"a complete response of the targets only", func() []events.Assessment {
		return conclude(caseOf("t 40, x here, here | gone, here, stable"), recist.CR)
	}},
	{"a complete response", func() []events.Assessment {
		return conclude(caseOf("t 40, x here | gone, gone"), recist.PR)
	}},
	{"stable disease that is called a response", func() []events.Assessment {
		return conclude(caseOf("t 100 | 75 | 85"), recist.SD, recist.CR)
	}},
	{"non-target disease only", func() []events.Assessment {
		return conclude(caseOf("x here, here | here, gone | here, ne"), recist.SD, recist.PR)
	}},
	{"disease after a complete response", func() []events.Assessment {
		return conclude(caseOf("t 40 | gone | 4"), recist.CR, recist.PR)
	}},
	{"a complete response that was not met", func() []events.Assessment {
		return conclude(caseOf("t 40 | 4 | 6"), recist.CR, recist.PR)
	}},
	{"a response that continues", func() []events.Assessment {
		return conclude(caseOf("t 100 | 70 | 80"), recist.PR, recist.PR)
	}},
	{"a response after progression", func() []events.Assessment {
		return conclude(caseOf("t 50 | 70 | 30"), recist.PD, recist.PR)
	}},
	{"a new lesion that becomes certain", func() []events.Assessment {
		return conclude(caseOf("t 100 | 50, w equivocal | 50, w here"), recist.PD, recist.PD)
	}},
	{"sums and changes that differ", func() []events.Assessment {
		visits := conclude(caseOf("t 30, 20 | 20, 10 | 20, 12"), recist.PR, recist.PR)
		measure(&visits[0], "50", "--", "-1 mm", "+3 mm")
		measure(&visits[1], "31", "-20.0 mm", "-20.0 mm", "--")
		measure(&visits[2], "32", "+2.0 mm", "-18.0 mm", "+1.0 mm")
		return visits
	}},
	{"a change without a sum before", func() []events.Assessment {
		visits := conclude(caseOf("t 30 | 29"), recist.SD)
		measure(&visits[1], "29", "-1.0 mm", "-1.0 mm", "-1.0 mm")
		visits[0].Lesions[0].State, visits[0].Lesions[0].Value = "Not evaluable", ""
		return visits
	}},
	{"a visit that is missing", func() []events.Assessment {
		visits := conclude(caseOf("t 79.9 | 49.6 | 37.6"), "", recist.PR)
		measure(&visits[2], "37.6", "-12.0 mm", "-42.3 mm", "-12.0 mm")
		return slices.Delete(visits, 1, 2)
	}},
	{"no lesions but sums", func() []events.Assessment {
		visits := conclude(caseOf("t 79.9 | 37.6"), recist.PR)
		visits[0].Lesions, visits[1].Lesions = nil, nil
		measure(&visits[0], "79.9", "--", "0.0 mm", "--")
		measure(&visits[1], "37.6", "-42.3 mm", "-42.3 mm", "-42.3 mm")
		return visits
	}},
	{"lesions at the baseline only", func() []events.Assessment {
		visits := conclude(caseOf("t 79.9 | 37.6"), recist.PR)
		visits[1].Lesions = nil
		measure(&visits[1], "37.6", "--", "-42.3 mm", "-42.3 mm")
		return visits
	}},
	{"a target that the baseline lacks", func() []events.Assessment {
		visits := conclude(caseOf("t 30 | 28"), recist.SD)
		visits[1].Lesions = append(visits[1].Lesions, events.Lesion{ID: "L01", Category: "Target", Value: "12", Unit: "mm"})
		measure(&visits[1], "40", "--", "--", "--")
		return visits
	}},
	{"a part beside its whole", func() []events.Assessment {
		visits := conclude(caseOf("t 30 | 28"), recist.SD)
		visits[1].Lesions = append(visits[1].Lesions, events.Lesion{ID: "L00.1", Category: "Target", Value: "12", Unit: "mm"})
		return visits
	}},
	{"no response by RECIST", func() []events.Assessment {
		return conclude(caseOf("t 30 | 28 | 28"), "Undefined", "Yes")
	}},
	{"a response at the baseline", func() []events.Assessment {
		visits := caseOf("t 30")
		visits[0].Conclusion = string(recist.SD)
		return visits
	}},
	{"a baseline of normal nodes", func() []events.Assessment {
		return conclude(caseOf("n 8, 9 | 8, 9"), recist.CR)
	}},
	{"odd lesions", func() []events.Assessment {
		return conclude(caseOf("t 40, xn 12 | gone=3, stable=8"), recist.PR)
	}},
	{"an unusual choice of targets", func() []events.Assessment {
		visits := caseOf("t 9.9, 8, 30, 30, n 14, 14.9, 15")
		for i, organ := range []string{"Lung, left", "Lung, right", "LUNG", "Liver"} {
			visits[0].Lesions[i].Organ = organ
		}
		return visits
	}},
	{"many non-targets", func() []events.Assessment {
		return conclude(caseOf("x "+strings.Repeat("here, ", 7)+"here | "+strings.Repeat("ne, ", 7)+"ne"), recist.CR)
	}},
}

// codes are all codes of findings.
var codes = []string{
	"overall-differs", "sum-differs", "sum-without-target", "change-differs", "disease-after-cr", "continued-pr", "pd-earlier",
	"missing-target-argued", "non-target-sd", "new-confirmed", "not-enough", "equivocal-new", "not-all-evaluated", "markers-unknown",
	"lesions-differ", "response-undefined", "baseline-has-response", "history-incomplete", "cr-not-met", "baseline-normal",
	"disappeared-with-value", "node-normal", "target-small", "node-small", "many-targets", "many-per-organ",
}

func TestEachFindingIsASentence(t *testing.T) {
	var text strings.Builder
	seen := map[string]bool{}
	for _, s := range situations {
		fmt.Fprintf(&text, "%s\n", s.name)
		for _, v := range recist.Check(s.visits()) {
			fmt.Fprintf(&text, "  %s, recorded %s, computed %s\n", v.Name, v.Recorded, short(v))
			for _, f := range v.Findings {
				seen[f.Code] = true
				fmt.Fprintf(&text, "    %s %s: %s\n      lesions %v, source %q\n", f.Level, f.Code, f.Text, f.Lesions, f.Source)
				if f.Lesions == nil {
					t.Errorf("%s: the lesions of %s are nil", s.name, f.Code)
				}
			}
			if first := len(v.Findings) > 0 && v.Findings[0].Level == recist.Contradiction; first != v.Contradicts() {
				t.Errorf("%s: Contradicts reports %t", s.name, v.Contradicts())
			}
		}
	}
	for _, code := range codes {
		if !seen[code] {
			t.Errorf("no situation has %s", code)
		}
		delete(seen, code)
	}
	for code := range seen {
		t.Errorf("%s is not among the codes of the test", code)
	}

	golden := filepath.Join("testdata", "findings.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Error(diff)
	}
}
