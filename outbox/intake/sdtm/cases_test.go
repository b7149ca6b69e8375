package sdtm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// readCase imports one of the folders in testdata/cases.
func readCase(t *testing.T, name string, reg sdtm.Registry) []intake.Record {
	t.Helper()
	emit, records := collect()
	err := sdtm.ReadFrom(t.Context(), os.DirFS(filepath.Join("testdata", "cases", name)), "", sdtm.Options{}, reg, emit)
	if err != nil {
		t.Fatal(err)
	}
	return *records
}

// lesionLines returns each lesion of an assessment as one line to compare.
func lesionLines(a events.Assessment) []string {
	var out []string
	for _, l := range a.Lesions {
		out = append(out, strings.Join([]string{l.ID, l.State, string(l.Value), l.Label}, "|"))
	}
	return out
}

func TestCases(t *testing.T) {
	two := []string{ // two target lesions, 30 + 20 and 25 + 15
		"S-01|100|Baseline|2024-01-10|50|--|0.0 mm|--|No",
		"S-01|101|Follow-up 1|2024-03-06|40|-10.0 mm|-10.0 mm|-10.0 mm|Partial Response",
	}
	for _, c := range []struct {
		folder, name string
		want         []string
		lesions      []string // of the last assessment
		warnings     []string
	}{
		{folder: "S01a", name: "without TRSTAT", want: two},
		{folder: "S01c", name: "without RSEVALID", want: two},
		{
			folder: "S02a", name: "targets measured by LDIAM, nodes by LPERP",
			want: []string{
				"S-01|100|Baseline|2024-01-10|48|--|0.0 mm|--|No",
				"S-01|101|Follow-up 1|2024-03-06|20|-28.0 mm|-28.0 mm|-28.0 mm|Partial Response",
			},
			lesions: []string{"T01|Present|12|Long axis", "T02|Present|8|Short axis"},
		},
		{
			folder: "S03a", name: "the state of a node as LNSTATE",
			want:    []string{"S-01|100|Baseline|2024-01-10|30|--|0.0 mm|--|No"},
			lesions: []string{"NT01|Present||", "T01|Present|30|"},
			warnings: []string{
				"tr.csv:2: rs.csv:2: VISITNUM: the overall response PR is left out, as tr.csv has no visit 2",
			},
		},
		{
			folder: "S04a", name: "LDIAM 0",
			want: []string{
				"S-01|100|Baseline|2024-01-10|30|--|0.0 mm|--|No",
				"S-01|101|Follow-up 1|2024-03-06|0|-30.0 mm|-30.0 mm|-30.0 mm|Complete Response",
			},
			lesions: []string{"T01|Disappeared|0|Long axis"},
		},
		{
			folder: "S05a", name: "a response by other criteria",
			want:     []string{two[0], strings.Replace(two[1], "Partial Response", "Undefined", 1)},
			warnings: []string{"tr.csv:2: rs.csv:2: RSCAT: overall responses that are not by RECIST 1.1 are left out: 1 (1 by IMWG)"},
		},
		{
			folder: "S05b", name: "a response by RECIST 1.1 beside one by other criteria", want: two,
			warnings: []string{"tr.csv:2: rs.csv:3: RSCAT: overall responses that are not by RECIST 1.1 are left out: 1 (1 by CA125)"},
		},
		{
			folder: "S05f", name: "the overall response by other criteria than that of the targets",
			want:     []string{two[0], strings.Replace(two[1], "Partial Response", "Undefined", 1)},
			warnings: []string{"tr.csv:2: rs.csv:3: RSCAT: overall responses that are not by RECIST 1.1 are left out: 1 (1 by LUGANO 2014)"},
		},
		{
			folder: "S06a", name: "a follow-up of which the year is known",
			want: []string{
				"S-01|100|Baseline|2024-01-20|50|--|0.0 mm|--|No",
				"S-01|101|Follow-up 1|2024|30|-20.0 mm|-20.0 mm|-20.0 mm|Partial Response",
				"S-01|102|Follow-up 2|2024-05-01|20|-10.0 mm|-30.0 mm|-10.0 mm|Partial Response",
			},
		},
		{
			folder: "S06c", name: "a follow-up of which the month is known",
			want: []string{
				"S-01|100|Baseline|2024-01-20|50|--|0.0 mm|--|No",
				"S-01|101|Follow-up 1|2024-03-10|30|-20.0 mm|-20.0 mm|-20.0 mm|Partial Response",
				"S-01|102|Follow-up 2|2024-03|45|+15.0 mm|-5.0 mm|+15.0 mm|Progressive Disease",
			},
		},
		{
			folder: "S07a", name: "a time without seconds",
			want: []string{
				two[0], strings.Replace(two[1], "2024-03-06", "2024-03-06T10:30:00", 1),
				"S-01|102|Follow-up 2|2024-05-06|34|-6.0 mm|-16.0 mm|-6.0 mm|Partial Response",
			},
		},
		{
			folder: "S08b", name: "an interval",
			want: []string{
				two[0], two[1],
				"S-01|102|Follow-up 2|2024-05-06|34|-6.0 mm|-16.0 mm|-6.0 mm|Partial Response",
			},
		},
		{
			folder: "S09", name: "a lesion that is too small to measure",
			want: []string{
				two[0],
				"S-01|101|Follow-up 1|2024-03-06|20|-30.0 mm|-30.0 mm|-30.0 mm|Partial Response",
			},
			lesions: []string{"T01|Too small|5|", "T02|Present|15|"},
		},
		{folder: "S10a", name: "the same row twice", want: two},
		{
			folder: "S12a", name: "a target that was split",
			want: []string{
				two[0],
				"S-01|101|Follow-up 1|2024-03-06|39|-11.0 mm|-11.0 mm|-11.0 mm|Stable Disease",
			},
			lesions: []string{"T01|Present|25|", "T02.1|Present|8|", "T02.2|Present|6|"},
			warnings: []string{
				"tr.csv:5: target lesions were split or merged since the baseline: T02.1 of T02, T02.2 of T02; SUMDIAM, 39 mm, is compared",
			},
		},
		{
			folder: "S13a", name: "target lesions identified over two visits",
			want: []string{
				"S-01|100|Baseline|2024-01-08|30|--|0.0 mm|--|No",
				"S-01|101|Follow-up 1|2024-01-10|no value|Undefined",
				"S-01|102|Follow-up 2|2024-03-06|44|--|--|--|Stable Disease",
			},
			warnings: []string{
				"tr.csv:3: no sum of diameters: target lesion T01 has no row",
				"tr.csv:4: the baseline has no target lesion T02; the sum of the diameters, 44 mm, is over different lesions and is not compared with other visits",
			},
		},
		{
			folder: "S15a", name: "VISITNUM 04 and 4",
			want: []string{
				"S-01|100|Baseline|2024-01-10|30|--|0.0 mm|--|No",
				"S-01|101|Follow-up 1|2024-03-06|20|-10.0 mm|-10.0 mm|-10.0 mm|Partial Response",
			},
		},
		{folder: "S17", name: "NA as R writes missing values", want: two},
		{folder: "S18a", name: "column names in lower case", want: two},
		{folder: "S18c", name: "lines of blanks at the end", want: two},
		{
			folder: "S28a", name: "a response of an unknown subject", want: two,
			warnings: []string{"tr.csv:2: rs.csv:3: USUBJID: the overall response PD is left out, as tr.csv has no record of subject S-02 of study S28a"},
		},
		{
			folder: "S28c", name: "a response by an evaluator who is spelled otherwise",
			want:     []string{two[0], two[1], "S-01|102|Follow-up 2|2024-05-06|34|-6.0 mm|-16.0 mm|-6.0 mm|Undefined"},
			warnings: []string{"tr.csv:2: rs.csv:3: RSEVAL: 1 row is by Investigator, which is not INVESTIGATOR, and left out"},
		},
	} {
		t.Run(c.folder+" "+c.name, func(t *testing.T) {
			records := readCase(t, c.folder, newRegistry())
			if diff := cmp.Diff(c.want, lines(records)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.warnings, warnings(records)); diff != "" {
				t.Error(diff)
			}
			if c.lesions == nil || len(records) == 0 {
				return
			}
			if diff := cmp.Diff(c.lesions, lesionLines(records[len(records)-1].Submission.Assessment)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("S50a a second delivery that has only the new visit", func(t *testing.T) {
		for _, signed := range []bool{false, true} {
			reg := newRegistry()
			reg.register(t, readCase(t, "S50a-1", reg))
			if signed {
				reg.sign()
			}
			records := readCase(t, "S50a-2", reg)
			want := []string{"S-01|102|Follow-up 2|2024-05-06|34|-6.0 mm|-16.0 mm|-6.0 mm|Stable Disease"}
			if diff := cmp.Diff(want, lines(records)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string(nil), warnings(records)); diff != "" {
				t.Error(diff)
			}
			if got := reg.register(t, records); got != (count{Taken: 1}) {
				t.Errorf("%+v", got)
			}
			for _, folder := range []string{"S50a-1", "S50a-2"} {
				if again := reg.register(t, readCase(t, folder, reg)); again.Taken != 0 || again.Refused != 0 {
					t.Errorf("%s again: %+v", folder, again)
				}
			}
		}
	})
}
