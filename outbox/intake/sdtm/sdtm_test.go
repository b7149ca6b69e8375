package sdtm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// smallSet writes the three files of study S. A row is
//
//	TR subject visit date group lesion test result
//	TU subject lesion organ
//	RS subject visit date response
//
// with - for empty and ND, as a result, for NOT DONE. The first TR row is in
// line 2 of tr.csv, and so on.
func smallSet(rows ...string) fstest.MapFS {
	tr := []string{"STUDYID,USUBJID,VISITNUM,TRDTC,TREVAL,TREVALID,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU,TRSTAT,TRMETHOD"}
	tu := []string{"STUDYID,USUBJID,TUEVAL,TUEVALID,TULNKID,TULOC"}
	rs := []string{"STUDYID,USUBJID,VISITNUM,RSDTC,RSEVAL,RSEVALID,RSCAT,RSTESTCD,RSSTRESC", "S,nobody,1,,INVESTIGATOR,,RECIST 1.1,TRGRESP,"}
	tu = append(tu, "S,nobody,INVESTIGATOR,,,")
	for _, r := range rows {
		f := strings.Fields(r)
		for i := range f {
			if f[i] == "-" {
				f[i] = ""
			}
		}
		switch f[0] {
		case "TR":
			unit, status := "", ""
			if f[7] == "ND" {
				f[7], status = "", "NOT DONE"
			} else if slices.Contains([]string{"DIAMETER", "LDIAM", "LPERP", "SUMDIAM"}, f[6]) {
				unit = "mm"
			}
			tr = append(tr, fmt.Sprintf("S,%s,%s,%s,INVESTIGATOR,,%s,%s,%s,%s,%s,%s,CT SCAN", f[1], f[2], f[3], f[4], f[5], f[6], f[7], unit, status))
		case "TU":
			tu = append(tu, fmt.Sprintf("S,%s,INVESTIGATOR,,%s,%s", f[1], f[2], f[3]))
		case "RS":
			rs = append(rs, fmt.Sprintf("S,%s,%s,%s,INVESTIGATOR,,RECIST 1.1,OVRLRESP,%s", f[1], f[2], f[3], f[4]))
		}
	}
	file := func(lines []string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.Join(lines, "\n") + "\n")}
	}
	return fstest.MapFS{"tr.csv": file(tr), "tu.csv": file(tu), "rs.csv": file(rs)}
}

// lines returns each record as one line to compare.
func lines(records []intake.Record) []string {
	var out []string
	for _, r := range records {
		a := r.Submission.Assessment
		switch {
		case r.Err != nil:
			out = append(out, r.Place()+": "+r.Err.Error())
		case a.Measurement == nil:
			out = append(out, strings.Join([]string{a.Subject, a.ID, a.Name, a.Effective, "no value", a.Conclusion}, "|"))
		default:
			m := a.Measurement
			out = append(out, strings.Join([]string{a.Subject, a.ID, a.Name, a.Effective, string(m.Value),
				m.ChangeFromPrevious, m.ChangeFromBaseline, m.ChangeFromNadir, a.Conclusion}, "|"))
		}
	}
	return out
}

func TestRulesOfSDTM(t *testing.T) {
	for _, c := range []struct {
		name     string
		rows     []string
		want     []string
		warnings []string
	}{
		{
			name: "changes are exact and show the decimals of the longer operand",
			rows: []string{
				"TR A 1 2020-01-01 TARGET - SUMDIAM 50", "TR A 2 2020-02-01 TARGET - SUMDIAM 40.25",
				"TR A 3 2020-03-01 TARGET - SUMDIAM 40.3", "TR A 4 2020-04-01 TARGET - SUMDIAM 40.30",
				"TR A 5 2020-05-01 TARGET - SUMDIAM 1E2", "TR A 6 2020-06-01 TARGET - SUMDIAM 0.1E-2",
			},
			want: []string{
				"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No",
				"A|101|Follow-up 1|2020-02-01|40.25|-9.75 mm|-9.75 mm|-9.75 mm|Undefined",
				"A|102|Follow-up 2|2020-03-01|40.3|+0.05 mm|-9.7 mm|+0.05 mm|Undefined",
				"A|103|Follow-up 3|2020-04-01|40.30|0.00 mm|-9.70 mm|+0.05 mm|Undefined",
				"A|104|Follow-up 4|2020-05-01|1E2|+59.70 mm|+50.0 mm|+59.75 mm|Undefined",
				"A|105|Follow-up 5|2020-06-01|0.1E-2|-99.999 mm|-49.999 mm|-40.249 mm|Undefined",
			},
		},
		{
			name: "without SUMDIAM the diameters of the targets add up exactly",
			rows: []string{
				"TR A 1 2020-01-01 TARGET T01 DIAMETER 10.1", "TR A 1 2020-01-01 TARGET T02 DIAMETER 20.2",
				"TR A 1 2020-01-01 NON-TARGET NT1 DIAMETER 7", "TR A 1 2020-01-01 NON-TARGET NT1 TUMSTATE PRESENT",
			},
			want: []string{"A|100|Baseline|2020-01-01|30.3|--|0.0 mm|--|No"},
		},
		{
			name: "a target lesion of the first visit that is not measured leaves no value, whatever SUMDIAM is",
			rows: []string{
				"TR A 1 2020-01-01 TARGET T01 DIAMETER 10", "TR A 1 2020-01-01 TARGET T02 DIAMETER 20", "TR A 1 2020-01-01 TARGET T03 DIAMETER 5",
				"TR A 2 2020-02-01 TARGET T01 DIAMETER ND", "TR A 2 2020-02-01 TARGET T02 TUMSTATE PRESENT", "TR A 2 2020-02-01 TARGET - SUMDIAM 20",
				"TR A 3 2020-03-01 TARGET T01 DIAMETER 9", "TR A 3 2020-03-01 TARGET T02 DIAMETER 8", "TR A 3 2020-03-01 TARGET T03 DIAMETER 0",
			},
			want: []string{
				"A|100|Baseline|2020-01-01|35|--|0.0 mm|--|No",
				"A|101|Follow-up 1|2020-02-01|no value|Undefined",
				"A|102|Follow-up 2|2020-03-01|17|-18.0 mm|-18.0 mm|-18.0 mm|Undefined",
			},
			warnings: []string{"tr.csv:5: no sum of diameters: target lesion T01 is NOT DONE (line 5), T02 has no DIAMETER, T03 has no row"},
		},
		{
			name: "without a baseline value there is no change from it",
			rows: []string{
				"TR A 1 2020-01-01 TARGET T01 DIAMETER ND",
				"TR A 2 2020-02-01 TARGET T01 DIAMETER 8", "TR A 3 2020-03-01 TARGET T01 DIAMETER 9",
			},
			want: []string{
				"A|100|Baseline|2020-01-01|no value|No",
				"A|101|Follow-up 1|2020-02-01|8|--|--|--|Undefined",
				"A|102|Follow-up 2|2020-03-01|9|+1.0 mm|--|+1.0 mm|Undefined",
			},
			warnings: []string{"tr.csv:2: no sum of diameters: target lesion T01 is NOT DONE (line 2)"},
		},
		{
			name: "a sum that is not that of the diameters is taken with a warning",
			rows: []string{"TR A 1 2020-01-01 TARGET T01 DIAMETER 10", "TR A 1 2020-01-01 TARGET - SUMDIAM 11"},
			want: []string{"A|100|Baseline|2020-01-01|11|--|0.0 mm|--|No"},
			warnings: []string{
				"tr.csv:2: SUMDIAM is 11 (line 3), but the diameters of the target lesions add up to 10",
			},
		},
		{
			name: "visits are ordered by number, also where a date is coarse, and 9.20 is 9.2",
			rows: []string{
				"TR A 10 2014-01-02 TARGET - SUMDIAM 3", "TR A 9.20 2014-01-02 TARGET - SUMDIAM 2",
				"TR A 9.2 2014-01-05 TARGET T01 DIAMETER 2", "TR A 20 2014-01 TARGET T01 DIAMETER 1",
				"RS A 9.2 2015-01-01 PR", "RS A 20 - SD",
			},
			want: []string{
				"A|100|Baseline|2014-01-02|2|--|0.0 mm|--|Partial Response",
				"A|101|Follow-up 1|2014-01-02|no value|Undefined",
				"A|102|Follow-up 2|2014-01|1|-1.0 mm|-1.0 mm|-1.0 mm|Stable Disease",
			},
			warnings: []string{"tr.csv:2: no sum of diameters: target lesion T01 has no row"},
		},
		{
			name: "a visit that repeats a test of a lesion is split by date",
			rows: []string{
				"TR A 1 2020-01-01 TARGET T01 DIAMETER 9", "TR A 1 2020-01-09 TARGET T01 DIAMETER 8",
				"RS A 1 2020-01-09 PR", "RS A 1 2020-01-10 CR",
			},
			want: []string{
				"A|100|Baseline|2020-01-01|9|--|0.0 mm|--|No",
				"A|101|Follow-up 1|2020-01-09|8|-1.0 mm|-1.0 mm|-1.0 mm|Partial Response",
			},
			warnings: []string{"tr.csv:2: rs.csv:4: VISITNUM: the overall response CR is left out, as tr.csv has no visit 1 of that date"},
		},
		{
			name: "cases are numbered in code-point order of the subjects",
			rows: []string{"TR b 1 2020 TARGET - SUMDIAM 1", "TR é 1 2020 TARGET - SUMDIAM 1", "TR B 1 2020 TARGET - SUMDIAM 1"},
			want: []string{"B|100|Baseline|2020|1|--|0.0 mm|--|No", "b|200|Baseline|2020|1|--|0.0 mm|--|No", "é|300|Baseline|2020|1|--|0.0 mm|--|No"},
		},
		{
			name: "of two organs of a lesion the first counts, with a warning",
			rows: []string{"TR A 1 2020 TARGET T01 DIAMETER 1", "TU A T01 LUNG", "TU A T01 LIVER"},
			want: []string{"A|100|Baseline|2020|1|--|0.0 mm|--|No"},
			warnings: []string{
				"tr.csv:2: tu.csv:4: TULOC: lesion T01 is in LIVER here; LUNG of line 3 is used",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := readSDTM(t, smallSet(c.rows...), sdtm.Options{}, newRegistry())
			if diff := cmp.Diff(c.want, lines(records)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.warnings, warnings(records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLesionsOfSDTM(t *testing.T) {
	files := smallSet(
		"TR A 1 2020 NEW NEW1 TUMSTATE UNEQUIVOCAL", "TR A 1 2020 NEW NEW2 TUMSTATE EQUIVOCAL",
		"TR A 1 2020 NON-TARGET NT1 TUMSTATE PRESENT", "TR A 1 2020 NON-TARGET NT2 TUMSTATE ABSENT",
		"TR A 1 2020 NON-TARGET NT3 TUMSTATE UNEQUIVOCAL", "TR A 1 2020 NON-TARGET NT4 TUMSTATE EQUIVOCAL",
		"TR A 1 2020 NON-TARGET NT5 TUMSTATE ND", "TR A 1 2020 TARGET T01 DIAMETER 12.50",
		"TR A 1 2020 TARGET T02 DIAMETER 0.0", "TR A 1 2020 TARGET T03 DIAMETER ND", "TU A T01 LUNG",
	)
	text := string(files["tr.csv"].Data)
	for lesion, method := range map[string]string{"NEW1": "MRI", "NT1": "PET", "NT2": "X-RAY"} {
		lines := strings.Split(text, "\n")
		for i, l := range lines {
			if strings.Contains(l, ","+lesion+",") {
				lines[i] = strings.Replace(l, "CT SCAN", method, 1)
			}
		}
		text = strings.Join(lines, "\n")
	}
	files["tr.csv"] = &fstest.MapFile{Data: []byte(text)}
	want := []events.Lesion{
		{ID: "NEW1", Category: "New lesion", State: "Present", Modality: "MR"},
		{ID: "NEW2", Category: "New lesion", State: "Undefined", Modality: "CT"},
		{ID: "NT1", Category: "Non-target", State: "Present", Modality: "PT"},
		{ID: "NT2", Category: "Non-target", State: "Disappeared", Modality: "OT"},
		{ID: "NT3", Category: "Non-target", State: "Uneqv. prog.", Modality: "CT"},
		{ID: "NT4", Category: "Non-target", State: "Undefined", Modality: "CT"},
		{ID: "NT5", Category: "Non-target", State: "Not evaluable", Modality: "CT"},
		{ID: "T01", Category: "Target", Organ: "LUNG", State: "Present", Value: "12.50", Unit: "mm", Modality: "CT"},
		{ID: "T02", Category: "Target", State: "Disappeared", Value: "0.0", Unit: "mm", Modality: "CT"},
		{ID: "T03", Category: "Target", State: "Not evaluable", Modality: "CT"},
	}
	got := of(readSDTM(t, files, sdtm.Options{}, newRegistry()), "A")
	if diff := cmp.Diff(want, got[0].Lesions); diff != "" {
		t.Error(diff)
	}
}
