package sdtm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// withVersion returns each record as one line with its version.
func withVersion(t *testing.T, reg *registry, rows ...string) (got, warned []string) {
	t.Helper()
	records := readSDTM(t, smallSet(rows...), sdtm.Options{}, reg)
	for i, line := range lines(records) {
		if records[i].Err == nil {
			line += "|" + strings.NewReplacer("case revision ", "", " revision ", "").Replace(records[i].Submission.Assessment.Version().String())
		}
		got = append(got, line)
	}
	reg.register(t, records)
	return got, warnings(records)
}

func TestDeliveries(t *testing.T) {
	const (
		first  = "TR A 1 2020-01-01 TARGET T01 DIAMETER 50"
		second = "TR A 2 2020-02-01 TARGET T01 DIAMETER 40"
		third  = "TR A 3 2020-03-01 TARGET T01 DIAMETER 45"
	)
	type delivery struct {
		rows     []string
		withdraw string // id that is withdrawn before
		want     []string
		warnings []string
	}
	for _, c := range []struct {
		name       string
		deliveries []delivery
	}{
		{"one visit at a time", []delivery{
			{rows: []string{first}, want: []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1"}},
			{rows: []string{second}, want: []string{"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|1,1"}},
			{rows: []string{third}, want: []string{"A|102|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|1,1"}},
			{rows: []string{first, second, third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|1,1",
				"A|102|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|1,1",
			}},
		}},
		{"a visit between two that are registered", []delivery{
			{rows: []string{first, third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-03-01|45|-5.0 mm|-5.0 mm|-5.0 mm|Undefined|1,1",
			}},
			{rows: []string{second}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|2,1",
				"A|102|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|2,1",
				"A|101|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|2,1",
			}, warnings: []string{
				"tr.csv:2: tr.csv:2: VISITNUM: the whole case 1 is registered again as revision 2, because with this delivery visit 3 (assessment 101), which it does not have, becomes Follow-up 2",
			}},
			{rows: []string{second}, want: []string{"A|102|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|2,1"}},
		}},
		{"a baseline that comes later", []delivery{
			{rows: []string{second}, want: []string{"A|100|Baseline|2020-02-01|40|--|0.0 mm|--|No|1,1"}},
			{rows: []string{first}, want: []string{
				"A|101|Baseline|2020-01-01|50|--|0.0 mm|--|No|2,1",
				"A|100|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|2,1",
			}, warnings: []string{
				"tr.csv:2: tr.csv:2: VISITNUM: the whole case 1 is registered again as revision 2, because with this delivery visit 2 (assessment 100), which it does not have, becomes Follow-up 1",
			}},
		}},
		{"a corrected visit changes those that are compared with it", []delivery{
			{rows: []string{first, second, third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|1,1",
				"A|102|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|1,1",
			}},
			{rows: []string{"TR A 2 2020-02-01 TARGET T01 DIAMETER 41"}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|2,1",
				"A|101|Follow-up 1|2020-02-01|41|-9.0 mm|-9.0 mm|-9.0 mm|Undefined|2,2",
				"A|102|Follow-up 2|2020-03-01|45|+4.0 mm|-5.0 mm|+4.0 mm|Undefined|2,1",
			}, warnings: []string{
				"tr.csv:2: tr.csv:2: VISITNUM: the whole case 1 is registered again as revision 2, because with this delivery visit 3 (assessment 102), which it does not have, has another sum or other changes",
			}},
		}},
		{"a withdrawn visit keeps its place and counts for nothing", []delivery{
			{rows: []string{first, second}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|1,1",
			}},
			{withdraw: "101", rows: []string{third}, want: []string{"A|102|Follow-up 2|2020-03-01|45|-5.0 mm|-5.0 mm|-5.0 mm|Undefined|1,1"}},
			{rows: []string{first, second, third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|1,1",
				"A|102|Follow-up 2|2020-03-01|45|-5.0 mm|-5.0 mm|-5.0 mm|Undefined|1,1",
			}},
			{rows: []string{first, "TR A 2 2020-02-01 TARGET T01 DIAMETER 42", third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|42|-8.0 mm|-8.0 mm|-8.0 mm|Undefined|1,2",
				"A|102|Follow-up 2|2020-03-01|45|+3.0 mm|-5.0 mm|+3.0 mm|Undefined|1,2",
			}},
		}},
		{"a withdrawn baseline is no baseline to compare with, and what was signed before stays", []delivery{
			{rows: []string{first, second}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|1,1",
			}},
			{withdraw: "100", rows: []string{third}, want: []string{"A|102|Follow-up 2|2020-03-01|45|+5.0 mm|--|+5.0 mm|Undefined|1,1"}},
		}},
		{"a visit that was refused keeps its place for a later delivery", []delivery{
			{rows: []string{first, "TR A 2 2020-02-01 NON-TARGET N01 TUMSTATE LARGER", third, second}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"tr.csv:3: TRSTRESC: LARGER is an unknown state of a lesion",
				"A|101|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|1,1",
			}},
			{rows: []string{"TR A 4 2020-04-01 TARGET T01 DIAMETER 46"}, want: []string{
				"A|102|Follow-up 3|2020-04-01|46|+1.0 mm|-4.0 mm|+1.0 mm|Undefined|1,1",
			}},
			{rows: []string{second}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|2,1",
				"A|103|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|2,1",
				"A|101|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|2,1",
				"A|102|Follow-up 3|2020-04-01|46|+1.0 mm|-4.0 mm|+6.0 mm|Undefined|2,1",
			}, warnings: []string{
				"tr.csv:2: tr.csv:2: VISITNUM: the whole case 1 is registered again as revision 2, because with this delivery visit 4 (assessment 102), which it does not have, has another sum or other changes",
			}},
		}},
		{"a delivery that changes another visit is refused while one of its own is", []delivery{
			{rows: []string{first, third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-03-01|45|-5.0 mm|-5.0 mm|-5.0 mm|Undefined|1,1",
			}},
			{rows: []string{second, "TR A 4 2020-04-01 TARGET T01 DIAMETER x"}, want: []string{
				"tr.csv:2: VISITNUM: this delivery changes visit 3, which it does not contain; the case cannot be registered again while visit 4 is refused (line 3)",
				"tr.csv:3: TRSTRESC: x is not a number from 0 on of at most 18 digits, such as 37.6",
			}},
		}},
		{"dates that contradict the order across deliveries", []delivery{
			{rows: []string{first, third}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-03-01|45|-5.0 mm|-5.0 mm|-5.0 mm|Undefined|1,1",
			}},
			{rows: []string{"TR A 4 2020-02 TARGET T01 DIAMETER 40"}, want: []string{
				"tr.csv:2: VISITNUM: the order of visits 3 (2020-03-01) and 4 (2020-02) is unclear: their dates contradict their numbers, and not all dates of the subject are known to the day",
			}},
			{rows: []string{"TR A 4 2020-02-02 TARGET T01 DIAMETER 40"}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|2,1",
				"A|102|Follow-up 1|2020-02-02|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|2,1",
				"A|101|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|2,1",
			}, warnings: []string{
				"tr.csv:2: tr.csv:2: VISITNUM: the visits of subject A are ordered by their dates, not by number: visit 4 (2020-02-02) before visit 3 (2020-03-01)",
				"tr.csv:2: tr.csv:2: VISITNUM: the whole case 1 is registered again as revision 2, because with this delivery visit 3 (assessment 101), which it does not have, becomes Follow-up 2",
			}},
		}},
		{"target lesions are compared with those of the registered baseline", []delivery{
			{rows: []string{first}, want: []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1"}},
			{rows: []string{second, "TR A 2 2020-02-01 TARGET T02 DIAMETER 7"}, want: []string{
				"A|101|Follow-up 1|2020-02-01|47|--|--|--|Undefined|1,1",
			}, warnings: []string{
				"tr.csv:2: the baseline has no target lesion T02; the sum of the diameters, 47 mm, is over different lesions and is not compared with other visits",
			}},
			{rows: []string{third}, want: []string{"A|102|Follow-up 2|2020-03-01|45|-5.0 mm|-5.0 mm|-5.0 mm|Undefined|1,1"}},
			{rows: []string{"TR A 4 2020-04-01 TARGET T03 DIAMETER 7"}, want: []string{"A|103|Follow-up 3|2020-04-01|no value|Undefined|1,1"}, warnings: []string{
				"tr.csv:2: no sum of diameters: target lesion T01 has no row",
			}},
		}},
		{"a date of a visit that was split", []delivery{
			{rows: []string{first, "TR A 1 2020-01-09 TARGET T01 DIAMETER 48"}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-01-09|48|-2.0 mm|-2.0 mm|-2.0 mm|Undefined|1,1",
			}},
			{rows: []string{"TR A 1 2020-01-09 TARGET T01 DIAMETER 48"}, want: []string{"A|101|Follow-up 1|2020-01-09|48|-2.0 mm|-2.0 mm|-2.0 mm|Undefined|1,1"}},
			{rows: []string{"TR A 1 2020-01-20 TARGET T01 DIAMETER 47"}, want: []string{"A|102|Follow-up 2|2020-01-20|47|-1.0 mm|-3.0 mm|-1.0 mm|Undefined|1,1"}},
		}},
		{"a part of a visit, and another of its dates, replace it with a warning", []delivery{
			{rows: []string{first, "TR A 1 2020-01-01 TARGET T02 DIAMETER 10"}, want: []string{"A|100|Baseline|2020-01-01|60|--|0.0 mm|--|No|1,1"}},
			{rows: []string{first}, want: []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,2"}, warnings: []string{
				"tr.csv:2: tr.csv:2: TRLNKID: visit 1 is registered as assessment 100 with lesion T02, which it does not have here, and is replaced",
			}},
			{rows: []string{first}, want: []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,2"}},
			{rows: []string{"TR A 1 2020-01-08 TARGET T01 DIAMETER 48"}, want: []string{"A|100|Baseline|2020-01-08|48|--|0.0 mm|--|No|1,3"}, warnings: []string{
				"tr.csv:2: tr.csv:2: TRDTC: visit 1 is registered as assessment 100 with the date 2020-01-01 and is replaced; if both dates are of the visit, deliver them together",
			}},
		}},
		{"responses of registered visits", []delivery{
			{rows: []string{first, second, "RS A 2 2020-02-01 PR"}, want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1",
				"A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Partial Response|1,1",
			}},
			{rows: []string{third, "RS A 2 2020-02-01 PR"}, want: []string{"A|102|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|1,1"}},
			{rows: []string{third, "RS A 2 2020-02-01 SD"}, want: []string{"A|102|Follow-up 2|2020-03-01|45|+5.0 mm|-5.0 mm|+5.0 mm|Undefined|1,1"}, warnings: []string{
				"tr.csv:2: rs.csv:3: VISITNUM: the overall response SD is left out, as tr.csv has no visit 2",
			}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := newRegistry()
			for i, d := range c.deliveries {
				if d.withdraw != "" {
					k := reg.known[d.withdraw]
					k.Withdrawn = true
					reg.known[d.withdraw] = k
				}
				got, warned := withVersion(t, reg, d.rows...)
				if diff := cmp.Diff(d.want, got); diff != "" {
					t.Errorf("delivery %d: %s", i+1, diff)
				}
				if diff := cmp.Diff(d.warnings, warned); diff != "" {
					t.Errorf("delivery %d: %s", i+1, diff)
				}
				reg.sign()
			}
		})
	}
}

func TestAVisitThatIsStoredUnderAnotherTextOfItsNumber(t *testing.T) {
	reg := imported(t, smallSet("TR A 4 2020-01-01 TARGET T01 DIAMETER 50"))
	known := reg.known["100"]
	known.Visit.Number = "04"
	reg.known["100"] = known
	for _, number := range []string{"4", "04", "4.0", "+4", "4e0"} {
		got, _ := withVersion(t, reg, "TR A "+number+" 2020-01-01 TARGET T01 DIAMETER 50")
		if diff := cmp.Diff([]string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No|1,1"}, got); diff != "" {
			t.Errorf("%s: %s", number, diff)
		}
	}
}

func TestAssessmentsOfAnotherOriginCountAsEarlierVisits(t *testing.T) {
	reg := newRegistry()
	reg.known["790"] = events.KnownVisit{Signed: true, Latest: events.Assessment{
		ID: "790", Study: "S", Subject: "A", Case: events.Case{ID: 7, Revision: 3}, Name: "Baseline", Effective: "2020-01-01",
		Measurement: &events.Measurement{Type: "targetsum", Value: "50", Unit: "mm", ChangeFromPrevious: "--", ChangeFromBaseline: "0.0 mm", ChangeFromNadir: "--"},
		Lesions:     []events.Lesion{{ID: "T01", Category: "Target"}},
	}}
	got, warned := withVersion(t, reg, "TR A 1 2020-02-01 TARGET T01 DIAMETER 40")
	if diff := cmp.Diff([]string{"A|700|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined|3,1"}, got); diff != "" {
		t.Error(diff)
	}
	want := []string{"tr.csv:2: assessment 790 of case 7, of 2020-01-01, was not imported from SDTM and counts as a visit of subject A"}
	if diff := cmp.Diff(want, warned); diff != "" {
		t.Error(diff)
	}
}
