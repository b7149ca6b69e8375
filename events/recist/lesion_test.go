package recist_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// target returns a target lesion with a diameter, or one that was not evaluated.
func target(id, value string) events.Lesion {
	l := events.Lesion{ID: id, Category: "Target", State: "Not evaluable"}
	if value != "" {
		l.State, l.Value, l.Unit = "Present", events.Decimal(value), events.Unit
	}
	return l
}

// visitsWith returns a case with these lesions at its visits.
func visitsWith(visits ...[]events.Lesion) []events.Assessment {
	var out []events.Assessment
	for i, lesions := range visits {
		a := events.Assessment{ID: events.FollowUp(i), Name: events.FollowUp(i), Timepoint: int32(i), Conclusion: "Undefined", Lesions: lesions}
		out = append(out, a)
	}
	return out
}

// codesOf returns the codes of a visit's findings.
func codesOf(v recist.Visit) []string {
	var out []string
	for _, f := range v.Findings {
		out = append(out, f.Code)
	}
	return out
}

func TestPartsAndMergedLesionsStandForTheirTargets(t *testing.T) {
	base := []events.Lesion{target("T01", "30"), target("T02", "20")}
	for _, e := range []struct {
		name   string
		visits []events.Assessment
		want   string
		sum    string
	}{
		{"two parts", visitsWith(base, []events.Lesion{target("T01", "10"), target("T02.1", "4"), target("T02.2", "5.5")}), "PR / – / PR", "19.5 mm"},
		{"a part of a part", visitsWith(base, []events.Lesion{target("T01", "30"), target("T02.1.3", "30")}), "PD / – / PD", "60 mm"},
		{"a merged lesion", visitsWith(base, []events.Lesion{target("T01/T02", "35")}), "PR / – / PR", "35 mm"},
		{"the whole of two parts", visitsWith([]events.Lesion{target("T02.1", "10"), target("T02.2", "10")}, []events.Lesion{target("T02", "25")}), "PD / – / PD", "25 mm"},
		{"a part that was not evaluated", visitsWith(base, []events.Lesion{target("T01", "10"), target("T02.1", "4"), target("T02.2", "")}), "NE / – / NE", "--"},
		// T02.1 is in T02: the others add up to 40 mm at least, not to 80 mm.
		{"a part beside its target, and another that is missing", visitsWith(base,
			[]events.Lesion{target("T01", ""), target("T02", "40"), target("T02.1", "40")}), "NE / – / NE", "--"},
		{"a part that is no longer there", visitsWith(base,
			[]events.Lesion{target("T01", "10"), target("T02.1", "4"), target("T02.2", "6")},
			[]events.Lesion{target("T01", "10"), target("T02.1", "4")}), "NE / – / NE", "--"},
		{"parts that are one lesion again", visitsWith(base,
			[]events.Lesion{target("T01", "10"), target("T02.1", "4"), target("T02.2", "6")},
			[]events.Lesion{target("T01", "10"), target("T02", "11")}), "PR / – / PR", "21 mm"},
		// 20 or 40 mm with the parts, 30 or 60 mm with T02 as it was at the baseline.
		{"all parts are missing", visitsWith([]events.Lesion{target("T01", "100"), target("T02", "60")},
			[]events.Lesion{target("T01", "80"), target("T02.1", "10"), target("T02.2", "10")},
			[]events.Lesion{target("T01", "71")}), "NE / – / NE +PR", "--"},
		{"a merged lesion of which a part was no target", visitsWith(base, []events.Lesion{target("T01/X", "35"), target("T02", "20")}), "NE / – / NE", "--"},
		{"an id that only looks like a part", visitsWith(base, []events.Lesion{target("T01", "30"), target("T02a", "20")}), "NE / – / NE", "--"},
	} {
		t.Run(e.name, func(t *testing.T) {
			result := recist.Check(e.visits)
			last := result[len(result)-1]
			if short(last) != e.want || last.Sum.String() != e.sum {
				t.Errorf("%s, %s; want %s, %s", short(last), last.Sum, e.want, e.sum)
			}
		})
	}
}

func TestASumOverOtherLesionsIsNotCompared(t *testing.T) {
	visits := visitsWith(
		[]events.Lesion{target("T01", "50")},
		[]events.Lesion{target("T01", "20"), target("T02", "5")},
		[]events.Lesion{target("T01", "45")},
	)
	measure(&visits[0], "50", "--", "0.0 mm", "--")
	measure(&visits[1], "25", "--", "--", "--")
	measure(&visits[2], "45", "-5 mm", "-5 mm", "-5.0 mm")
	result := recist.Check(visits)
	if short(result[1]) != "? / – / ?" || result[1].Sum.String() != "25 mm" || !slices.Contains(codesOf(result[1]), "lesions-differ") {
		t.Errorf("%s, %s, %v", short(result[1]), result[1].Sum, codesOf(result[1]))
	}
	if short(result[2]) != "SD / – / SD" || result[2].Nadir.String() != "50 mm" || result[2].Contradicts() {
		t.Errorf("%s, nadir %s, %v", short(result[2]), result[2].Nadir, codesOf(result[2]))
	}
}

func TestTheAxisOrTheOrganMakesANode(t *testing.T) {
	lesion := func(organ, label, value string) events.Lesion {
		l := target("T01", value)
		l.Organ, l.Label = organ, label
		return l
	}
	for _, e := range []struct{ organ, label, want string }{
		{"LYMPH NODE", "", "CR / – / CR"}, {"Axillary lymph_nodes", "", "CR / – / CR"}, {"Lymphnode", "", "CR / – / CR"},
		{"Lymph node", "Long ? short axis", "CR / – / CR"}, {"Lung", "Short axis", "CR / – / CR"},
		{"Lymph node", "Long axis", "PR / – / PR"}, {"Lung", "", "PR / – / PR"}, {"Lung", "Long axis", "PR / – / PR"}, {"Lymphatic duct", "", "PR / – / PR"},
	} {
		here := lesion(e.organ, e.label, "9")
		for name, later := range map[string]events.Lesion{"recorded again": here, "recorded at the baseline only": lesion("", "", "9")} {
			result := recist.Check(visitsWith([]events.Lesion{lesion(e.organ, e.label, "20")}, []events.Lesion{later}))
			if short(result[1]) != e.want {
				t.Errorf("%s, %s, %s: %s, want %s", e.organ, e.label, name, short(result[1]), e.want)
			}
		}
	}
}

func TestANonTargetThatTheBaselineLacks(t *testing.T) {
	for state, want := range map[string]string{"Present": "PR / CR / PR", "Not evaluable": "PR / CR / PR", "": "PR / CR / PR", "Uneqv. prog.": "PR / PD / PD"} {
		visits := caseOf("t 100, x here | 50, gone")
		visits[1].Lesions = append(visits[1].Lesions, events.Lesion{ID: "NT9", Category: "Non-target", State: state})
		if got := short(recist.Check(visits)[1]); got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}

func TestJudgementsAreOfRecordedResponsesOnly(t *testing.T) {
	visits := conclude(caseOf("t 100 | 70 | 80"), recist.PR, "Undefined")
	last := recist.Check(visits)[2]
	if short(last) != "SD / – / SD +PR" || !slices.Equal(codesOf(last), []string{"response-undefined"}) {
		t.Errorf("%s, %v", short(last), codesOf(last))
	}
	// A contradicted response has them too.
	conclude(visits, recist.PR, recist.CR)
	if got := codesOf(recist.Check(visits)[2]); !slices.Equal(got, []string{"overall-differs", "continued-pr"}) {
		t.Errorf("%v", got)
	}
}

func TestChangesAreNotQuestionedWithoutTheWholeHistory(t *testing.T) {
	visits := caseOf("t 50 | 40 | 30 | 30")
	measure(&visits[0], "50", "--", "0.0 mm", "--")
	measure(&visits[3], "30", "--", "-20 mm", "-10.0 mm")
	visits[2].Lesions = nil // so it has no sum, and the next no change from previous
	visits[1].Measurement, visits[2].Measurement = nil, nil
	if got := recist.Check(visits)[3]; got.Contradicts() {
		t.Errorf("%v", got.Findings)
	}
	measure(&visits[3], "30", "+1 mm", "--", "--")
	if got := recist.Check(visits)[3]; !got.Contradicts() {
		t.Error("a wrong change and two missing ones are accepted")
	}
	// Two visits of one timepoint are no whole history either, nor what comes after them.
	visits[1].Timepoint = 2
	if got := recist.Check(visits)[2:]; got[0].Contradicts() || got[1].Contradicts() || !slices.Contains(codesOf(got[0]), "history-incomplete") {
		t.Errorf("%v %v", got[0].Findings, got[1].Findings)
	}
}

func TestDiameterOfALesion(t *testing.T) {
	for want, l := range map[string]events.Lesion{
		"12.5 mm": {State: "Present", Value: "12.50"},
		"0 mm":    {State: "Disappeared"},
		"5 mm":    {State: "Too small"},
		"3 mm":    {State: "Too small", Value: "3"},
		"--":      {State: "Not evaluable", Value: "7"},
	} {
		if got := recist.Diameter(l).String(); got != want {
			t.Errorf("the diameter of %+v is %s, want %s", l, got, want)
		}
	}
}

func TestNewLesionsAreTheUnequivocalOnes(t *testing.T) {
	var a events.Assessment
	for id, state := range map[string]string{"N05": "Present", "N01": "Uneqv. prog.", "N02": "Undefined", "N03": "Too small", "N04": "Disappeared", "N06": "Not evaluable"} {
		a.Lesions = append(a.Lesions, events.Lesion{ID: id, Category: "New lesion", State: state})
	}
	a.Lesions = append(a.Lesions, events.Lesion{ID: "T01", Category: "Target", State: "Present"})
	if diff := cmp.Diff([]string{"N01", "N05"}, recist.NewLesions(a)); diff != "" {
		t.Error(diff)
	}
}
