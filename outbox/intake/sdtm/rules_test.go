package sdtm_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// csvSet makes a set of the three files. Lines begin with TR, TU or RS; the first
// of each is its header.
func csvSet(text string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, name := range []string{"tr.csv", "tu.csv", "rs.csv"} {
		var lines []string
		for _, line := range strings.Split(text, "\n") {
			if rest, ok := strings.CutPrefix(strings.TrimLeft(line, "\t"), strings.ToUpper(name[:2])+" "); ok {
				lines = append(lines, rest)
			}
		}
		files[name] = &fstest.MapFile{Data: []byte(strings.Join(lines, "\n") + "\n")}
	}
	return files
}

// Headers with only the columns that must be there, and those with units.
const (
	leastTU = "TU STUDYID,USUBJID,TULNKID,TUSTRESC,TULOC\nTU S,A,T99,,\n"
	leastRS = "RS STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC,RSCAT,RSDTC\nRS S,A,1,TRGRESP,,RECIST 1.1,\n"
	leastTR = "TR STUDYID,USUBJID,VISITNUM,TRDTC,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU\n"
)

func TestColumnsAndValues(t *testing.T) {
	const one = "A|100|Baseline|2020-01-01|30|--|0.0 mm|--|No"
	const undated = `tr.csv:4: TRDTC: visit 1 has different values of a lesion on different dates, and the date of this row is unknown: ""; give it to the day`
	for _, c := range []struct {
		name, text     string
		want, warnings []string
		lesions        []string
	}{
		{
			name: "the least columns",
			text: "TR studyid , usubjid,VISITNUM,TRDTC,TRLNKID,TRTESTCD,TRORRES,TRORRESU\nTR S, A ,1,2020-01-01,T01,DIAMETER, 30 ,mm\n" +
				"TU STUDYID,USUBJID,TULNKID,TUORRES\nTU S,A,T01,TARGET\nRS STUDYID,USUBJID,VISITNUM,RSTESTCD,RSORRES\nRS S,A,1,OVRLRESP,NE",
			want:     []string{strings.Replace(one, "No", "Not Evaluable", 1)},
			warnings: []string{"tr.csv:2: rs.csv:2: RSCAT: no row names criteria; the overall responses are taken as by RECIST 1.1"},
		},
		{
			name: "no category anywhere",
			text: strings.Replace(leastTR, "TRGRPID,", "", 1) + "TR S,A,1,2020-01-01,T01,DIAMETER,30,mm\n" + leastTU + leastRS,
			want: []string{"tr.csv:2: TRGRPID: is missing, and tu.csv has no category of lesion T01"},
		},
		{
			name: "different categories in tu.csv",
			text: strings.Replace(leastTR, "TRGRPID,", "", 1) + "TR S,A,1,2020-01-01,T01,DIAMETER,30,mm\n" + leastTU + "TU S,A,T01,TARGET,\nTU S,A,T01,NEW,\n" + leastRS,
			want: []string{"tr.csv:2: TRGRPID: is missing, and tu.csv has different categories of lesion T01 in lines 3 and 4"},
		},
		{
			name: "a blank category beside another, and lines of commas",
			text: leastTR + "TR S,A,1,2020-01-01,NA,T01,DIAMETER,30,mm\nTR ,,,,,,,,\nTR  , ,\n" + leastTU + "TU S,A,T01,TARGET,LUNG\nTU ,,,,\n" + leastRS,
			want: []string{one},
		},
		{
			name: "rows that differ in --SEQ alone, one of them another's",
			text: "TR TRSEQ,STUDYID,USUBJID,VISITNUM,TRDTC,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU\n" +
				"TR 1,S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR 2,S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR 3,S,A,1,2020-01-01,TARGET,T01,DIAMETER, 30,mm\n" +
				leastTU + "RS RSSEQ,STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC,RSCAT\nRS 1,S,B,1,OVRLRESP,PR,RECIST 1.1\nRS 2,S,B,1,OVRLRESP,PR,RECIST 1.1",
			want:     []string{one},
			warnings: []string{"tr.csv:2: rs.csv:2: USUBJID: the overall response PR is left out, as tr.csv has no record of subject B of study S"},
		},
		{
			name: "equal values on different dates are one visit, with the earlier date",
			text: leastTR + "TR S,A,1,2020-01-05,TARGET,T01,DIAMETER,30.0,mm\nTR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\n" + leastTU + leastRS,
			want: []string{strings.Replace(one, "|30|", "|30.0|", 1)},
		},
		{
			name: "equal values by different methods are one, with the method of the first",
			text: strings.Replace(leastTR, "TRSTRESU", "TRSTRESU,TRMETHOD", 1) + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm,CT SCAN\nTR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm,MRI,,\n" + leastTU + leastRS,
			want: []string{one}, warnings: []string{"tr.csv:2: tr.csv:3: TRMETHOD: DIAMETER of lesion T01 is by MRI here; CT SCAN of line 2 is used"},
		},
		{
			name: "different values on dates that may be one are refused",
			text: leastTR + "TR S,A,1,2020-01,TARGET,T01,DIAMETER,30,mm\nTR S,A,1,2020-01-01,TARGET,T01,DIAMETER,31,mm\n" + leastTU + leastRS,
			want: []string{
				"tr.csv:2: TRDTC: visit 1 has different values of a lesion that may be of one date, 2020-01 or 2020-01-01; give both dates to the day",
				"tr.csv:3: TRDTC: visit 1 has different values of a lesion that may be of one date, 2020-01 or 2020-01-01; give both dates to the day",
			},
		},
		{
			name: "different values at two times of a day are refused",
			text: leastTR + "TR S,A,1,2020-01-01T08:00,TARGET,T01,DIAMETER,30,mm\nTR S,A,1,2020-01-01T09:00,TARGET,T01,DIAMETER,31,mm\n" + leastTU + leastRS,
			want: []string{"tr.csv:3: TRLNKID: lesion T01 has DIAMETER twice on one date with different values, first in line 2"},
		},
		{
			name: "a unit of the original result, none, and another",
			text: "TR STUDYID,USUBJID,VISITNUM,TRDTC,TRGRPID,TRLNKID,TRTESTCD,TRORRES,TRORRESU,TRSTRESC,TRSTRESU\n" +
				"TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm,30,\nTR S,A,1,2020-01-01,TARGET,T02,DIAMETER,3.0,cm,30,mm\n" +
				"TR S,A,2,2020-02-01,TARGET,T01,DIAMETER,30,,30,\nTR S,A,2,2020-02-01,TARGET,T02,DIAMETER,30,mm,30,mm\n" +
				"TR S,A,3,2020-03-01,TARGET,T01,DIAMETER,3.0,cm,,mm\n" + leastTU + leastRS,
			want: []string{"A|100|Baseline|2020-01-01|60|--|0.0 mm|--|No", "A|101|Follow-up 1|2020-02-01|no value|Undefined", "tr.csv:6: TRSTRESU: cm is not mm"},
			warnings: []string{
				"tr.csv:4: no sum of diameters: target lesion T01 has no value of DIAMETER",
				"tr.csv:4: tr.csv:4: TRSTRESU: DIAMETER of lesion T01 has no unit; its value 30 is left out",
			},
		},
		{
			name: "TRSTRESN that differs, and a value of what is NOT DONE",
			text: "TR STUDYID,USUBJID,VISITNUM,TRDTC,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESN,TRSTRESU,TRSTAT\n" +
				"TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,30.0,mm,\nTR S,A,2,2020-02-01,TARGET,T01,DIAMETER,20,21,mm,\nTR S,A,3,2020-03-01,TARGET,T01,DIAMETER,20,20,mm,Not Done\n" + leastTU + leastRS,
			want: []string{one, "A|101|Follow-up 1|2020-02-01|20|-10.0 mm|-10.0 mm|-10.0 mm|Undefined", "A|102|Follow-up 2|2020-03-01|no value|Undefined"},
			warnings: []string{
				"tr.csv:3: tr.csv:3: TRSTRESN: 21 is not the value in TRSTRESC, 20; that of TRSTRESC is used",
				"tr.csv:4: no sum of diameters: target lesion T01 is NOT DONE (line 4)",
				"tr.csv:4: tr.csv:4: TRSTAT: DIAMETER of lesion T01 is NOT DONE; its value 20 is left out",
			},
		},
		{
			name: "too small to measure, with the number in each place and without one",
			text: "TR STUDYID,USUBJID,VISITNUM,TRDTC,TRGRPID,TRLNKID,TRTESTCD,TRORRES,TRSTRESC,TRSTRESN,TRSTRESU\n" +
				"TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,30,30,mm\nTR S,A,1,2020-01-01,TARGET,T02,LDIAM,20,20,20,mm\n" +
				"TR S,A,2,2020-02-01,TARGET,T01,DIAMETER,TOO SMALL TO MEASURE,4,4,mm\nTR S,A,2,2020-02-01,TARGET,T02,LDIAM,,TOO SMALL TO MEASURE,,\n" + leastTU + leastRS,
			want:    []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No", "A|101|Follow-up 1|2020-02-01|9|-41.0 mm|-41.0 mm|-41.0 mm|Undefined"},
			lesions: []string{"T01|Too small|4|", "T02|Too small||Long axis"},
		},
		{
			name: "DIAMETER counts before the axes; of a node the short one counts",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,LDIAM,40,mm\nTR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\n" +
				"TR S,A,1,2020-01-01,TARGET,T02,LPERP,12,mm\nTR S,A,1,2020-01-01,TARGET,T02,LDIAM,20,mm\n" +
				"TR S,A,1,2020-01-01,TARGET,T03,LPERP,13,mm\nTR S,A,1,2020-01-01,TARGET,T03,LDIAM,21,mm\n" +
				leastTU + "TU S,A,T02,TARGET,\"LYMPH NODE, AXILLARY\"\nTU S,A,T03,TARGET,LUNG\n" + leastRS,
			want:    []string{"A|100|Baseline|2020-01-01|63|--|0.0 mm|--|No"},
			lesions: []string{"T01|Present|30|", "T02|Present|12|Short axis", "T03|Present|21|Long axis"},
		},
		{
			name: "a node of which only the long axis was measured has no diameter",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,LDIAM,40,mm\n" + leastTU + "TU S,A,T01,TARGET,Mediastinal lymph node\n" + leastRS,
			want: []string{"A|100|Baseline|2020-01-01|no value|No"}, lesions: []string{"T01|Undefined||"},
			warnings: []string{"tr.csv:2: no sum of diameters: target lesion T01 is a lymph node and has no LPERP"},
		},
		{
			name: "LNSTATE and TUMSTATE that agree and that contradict each other",
			text: leastTR + "TR S,A,1,2020-01-01,NON-TARGET,N1,LNSTATE,NON-PATHOLOGICAL,\nTR S,A,1,2020-01-01,NON-TARGET,N2,LNSTATE,PATHOLOGICAL,\nTR S,A,1,2020-01-01,NON-TARGET,N2,TUMSTATE,UNEQUIVOCAL,\n" +
				"TR S,A,2,2020-02-01,NON-TARGET,N1,LNSTATE,NON-PATHOLOGICAL,\nTR S,A,2,2020-02-01,NON-TARGET,N1,TUMSTATE,PRESENT,\n" + leastTU + leastRS,
			want: []string{"A|100|Baseline|2020-01-01|no value|No", "tr.csv:6: TRSTRESC: TUMSTATE is PRESENT (line 6), but LNSTATE is NON-PATHOLOGICAL (line 5)"},
		},
		{
			name: "merged nodes are in the organ of both, and of the category of both",
			text: "TR STUDYID,USUBJID,VISITNUM,TRDTC,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU\n" +
				"TR S,A,1,2020-01-01,T01,LPERP,30,mm\nTR S,A,1,2020-01-01,T02,LPERP,20,mm\n" +
				"TR S,A,2,2020-02-01,T01/T02,LDIAM,60,mm\nTR S,A,2,2020-02-01,T01/T02,LPERP,40,mm\n" +
				leastTU + "TU S,A,T01,TARGET,LYMPH NODE\nTU S,A,T02,TARGET,LYMPH NODE\n" + leastRS,
			want:     []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No", "A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Undefined"},
			lesions:  []string{"T01/T02|Present|40|Short axis"},
			warnings: []string{"tr.csv:4: target lesions were split or merged since the baseline: T01/T02 of T01 and T02; the sum of the diameters, 40 mm, is compared"},
		},
		{
			name: "merged lesions of different categories",
			text: "TR STUDYID,USUBJID,VISITNUM,TRDTC,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU\nTR S,A,1,2020-01-01,T01/N01,LDIAM,60,mm\n" +
				leastTU + "TU S,A,T01,TARGET,LUNG\nTU S,A,N01,NON-TARGET,LUNG\n" + leastRS,
			want: []string{"tr.csv:2: TRGRPID: is missing, and tu.csv has no category of lesion T01/N01"},
		},
		{
			name: "a row without a result contradicts none and splits no visit",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,NA,mm\nTR S,A,1,2020-01-02,TARGET,T01,DIAMETER,30,mm\nTR S,A,1,2020-01-02,TARGET,T01,DIAMETER,,mm\n" + leastTU + leastRS,
			want: []string{one},
		},
		{
			name: "codes of tests in any case",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,diameter,30,mm\nTR S,A,1,2020-01-01,TARGET,,Sumdiam,30,mm\n" + leastTU +
				"RS STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC,RSCAT\nRS S,A,1,OvrlResp,SD,RECIST 1.1\n",
			want: []string{strings.Replace(one, "No", "Stable Disease", 1)},
		},
		{
			name: "results of no test",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR S,A,1,2020-01-01,TARGET,,,,\n" +
				"TR S,A,2,2020-02-01,TARGET,T01,,30,mm\nTR S,A,2,2020-02-01,TARGET,,SUMDIAM,30,mm\n" + leastTU +
				"RS STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC,RSCAT\nRS S,A,1,,SD,RECIST 1.1\nRS S,A,1,OVRLRESP,PR,RECIST 1.1\n",
			want: []string{
				"rs.csv:2: RSTESTCD: is missing, so it is unknown what the response is of",
				strings.Replace(one, "No", "Partial Response", 1), "tr.csv:4: TRTESTCD: is missing, so it is unknown what the result is of",
			},
			warnings: []string{"tr.csv:2: rs.csv:2 was refused and may belong here"},
		},
		{
			name: "a row without a date in a visit that is split by date",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR S,A,1,2020-01-08,TARGET,T01,DIAMETER,31,mm\nTR S,A,1,,TARGET,,SUMDIAM,31,mm\n" +
				"TR S,A,2,2020-02-01,TARGET,T01,DIAMETER,20,mm\n" + leastTU + leastRS,
			want: []string{undated, "tr.csv:5: VISITNUM: the changes of visit 2 cannot be known while visit 1 is refused (line 4)"},
		},
		{
			name: "a subject of which every row is refused, and a response of it",
			text: leastTR + "TR S,A,x,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR S,B,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\n" + leastTU + leastRS + "RS S,A,1,OVRLRESP,PD,RECIST 1.1,\n",
			want: []string{"tr.csv:2: VISITNUM: x is not a number such as 9.2", "B|200|Baseline|2020-01-01|30|--|0.0 mm|--|No"},
			warnings: []string{
				"tr.csv:3: rs.csv:3: VISITNUM: the overall response PD is left out, as tr.csv has no visit 1",
				"tr.csv:3: tr.csv:2 was refused and may belong here",
			},
		},
		{
			name:     "a target that is no target later",
			text:     leastTR + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR S,A,2,2020-02-01,NON-TARGET,T01,TUMSTATE,PRESENT,\n" + leastTU + leastRS,
			want:     []string{one, "A|101|Follow-up 1|2020-02-01|no value|Undefined"},
			warnings: []string{"tr.csv:3: no sum of diameters: target lesion T01 is Non-target here (line 3)"},
		},
		{
			name: "columns between semicolons",
			text: strings.ReplaceAll(leastTR, ",", ";") + "TR S;A;1;2020-01-01;TARGET;T01;DIAMETER;30;mm\n" + leastTU + leastRS,
			want: []string{`tr.csv:1: the columns are separated by ";"; write the file with commas`},
		},
		{
			name: "SUMDIAM of other lesions, and two that differ",
			text: leastTR + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\nTR S,A,1,2020-01-01,NON-TARGET,,SUMDIAM,99,mm\n" +
				"TR S,A,2,2020-02-01,TARGET,T01,DIAMETER,30,mm\nTR S,A,2,2020-02-01,TARGET,,SUMDIAM,30,mm\nTR S,A,2,2020-02-02,TARGET,,SUMDIAM,31,mm\n" + leastTU + leastRS,
			want:     []string{one, "tr.csv:6: TRSTRESC: the sum of diameters is 31 here and 30 in line 5"},
			warnings: []string{"tr.csv:2: tr.csv:3: TRGRPID: SUMDIAM of NON-TARGET is not that of the target lesions and is left out"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := readSDTM(t, csvSet(c.text), sdtm.Options{}, newRegistry())
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
}

func TestDatesOfSDTM(t *testing.T) {
	for text, want := range map[string]string{
		"2024":                      "2024",
		"2024-03":                   "2024-03",
		"2024---06":                 "2024",
		"2024-03--":                 "2024-03",
		"2024-03-06T10":             "2024-03-06",
		"2024-03-06T-:30":           "2024-03-06",
		"2024-03-06T10:-":           "2024-03-06",
		"2024-03-06T10:30":          "2024-03-06T10:30:00",
		"2024-03-06T10:30:-":        "2024-03-06T10:30:00",
		"2024-03-06T10:30Z":         "2024-03-06T10:30:00Z",
		"2024-03-06T10:30+0100":     "2024-03-06T10:30:00+01:00",
		"2024-03-06T10:30:15.5":     "2024-03-06T10:30:15.5",
		"2024-03-06/2024-03-08":     "2024-03-06",
		"2024-03-06T10:30/PT1H":     "2024-03-06T10:30:00",
		"2024-03/2024-03-08":        "2024-03",
		"--03-06":                   "no row of the visit has a date",
		"2024-02-30":                "is no date of the calendar: 2024-02-30",
		"2024-03-06/2024-03-05":     "is an interval that ends before it begins: 2024-03-06/2024-03-05",
		"06MAR2024":                 "must be a date of ISO 8601 such as 2024-03-06, 2024-03, 2024-03-06T10:30 or 2024-03-06/2024-03-08",
		"P3D/2024-03-06":            "must be a date of ISO 8601 such as 2024-03-06, 2024-03, 2024-03-06T10:30 or 2024-03-06/2024-03-08",
		"2024-03-06/2024-03-08/P1D": "must be a date of ISO 8601 such as 2024-03-06, 2024-03, 2024-03-06T10:30 or 2024-03-06/2024-03-08",
	} {
		records := readSDTM(t, smallSet("TR A 1 "+text+" TARGET T01 DIAMETER 30"), sdtm.Options{}, newRegistry())
		if len(records) != 1 {
			t.Fatalf("%s: %d records", text, len(records))
		}
		got := records[0].Submission.Assessment.Effective
		if records[0].Err != nil {
			got = records[0].Err.Message
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	t.Run("the earliest of a visit counts, then the less precise", func(t *testing.T) {
		for _, dates := range [][2]string{{"2014-01-02", "2014-01"}, {"2014-01", "2014-01-01"}, {"2014-02-01", "2014-01"}, {"2014-01", "2014-02-01"}} {
			records := readSDTM(t, smallSet("TR A 1 "+dates[0]+" TARGET T01 DIAMETER 30", "TR A 1 "+dates[1]+" TARGET T02 DIAMETER 30"), sdtm.Options{}, newRegistry())
			if got := lines(records)[0]; !strings.HasPrefix(got, "A|100|Baseline|2014-01|60|") {
				t.Errorf("%v: %s", dates, got)
			}
		}
	})
}

func TestOrderOfVisits(t *testing.T) {
	for _, c := range []struct {
		name           string
		dates          []string // of visits 1, 2, 3 …
		want, warnings []string // visit by the names, or the place and field of a refusal
	}{
		{"by number where dates are equal", []string{"2020-01-01", "2020-01-01"}, []string{"1", "2"}, nil},
		{"by number where a date may be either", []string{"2020-01-15", "2020-01", "2020"}, []string{"1", "2", "3"}, nil},
		{"by date where all are days", []string{"2020-01-01", "2020-03-01", "2020-02-01"}, []string{"1", "3", "2"},
			[]string{"tr.csv:2: tr.csv:4: VISITNUM: the visits of subject A are ordered by their dates, not by number: visit 3 (2020-02-01) before visit 2 (2020-03-01)"}},
		{"by date where one is before the baseline", []string{"2020-01-05", "2020-01-01", "2020-02-01"}, []string{"2", "1", "3"},
			[]string{"tr.csv:3: tr.csv:3: VISITNUM: the visits of subject A are ordered by their dates, not by number: visit 2 (2020-01-01) before visit 1 (2020-01-05)"}},
		{"by number within a day, also where another is ordered by date", []string{"2020-01-01T12:00", "2020-01-01", "2020-03-01", "2020-02-01"}, []string{"1", "2", "4", "3"},
			[]string{"tr.csv:2: tr.csv:5: VISITNUM: the visits of subject A are ordered by their dates, not by number: visit 4 (2020-02-01) before visit 3 (2020-03-01)"}},
		{"by number where an interval overlaps", []string{"2020-01-01/2020-01-09", "2020-01-05", "2020-02-01"}, []string{"1", "2", "3"}, nil},
		{"refused where a date is coarse and contradicts", []string{"2020-01-01", "2020-06-01", "2020-02", "2020-08-01"},
			[]string{"1", "tr.csv:3: VISITNUM", "tr.csv:4: VISITNUM", "tr.csv:5: VISITNUM"}, nil},
		{"refused with those between", []string{"2020-01-01", "2020-06-01", "2020", "2020-02", "2020-08"},
			[]string{"1", "tr.csv:3: VISITNUM", "tr.csv:4: VISITNUM", "tr.csv:5: VISITNUM", "tr.csv:6: VISITNUM"}, nil},
		{"refused as a whole where the baseline is unclear", []string{"2020-06-01", "2019", "2020-08-01"},
			[]string{"tr.csv:2: VISITNUM", "tr.csv:3: VISITNUM", "tr.csv:4: VISITNUM"}, nil},
		{"refused where days contradict and another date is coarse", []string{"2020", "2020-03-01", "2020-02-01"},
			[]string{"1", "tr.csv:3: VISITNUM", "tr.csv:4: VISITNUM"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rows []string
			for i, date := range c.dates {
				rows = append(rows, "TR A "+string(rune('1'+i))+" "+date+" TARGET T01 DIAMETER 30")
			}
			records := readSDTM(t, smallSet(rows...), sdtm.Options{}, newRegistry())
			var got []string
			for i, r := range records {
				if r.Err != nil {
					got = append(got, r.Place()+": "+r.Err.Field)
					continue
				}
				if int(r.Submission.Assessment.Timepoint) != i {
					t.Errorf("timepoint %d at place %d", r.Submission.Assessment.Timepoint, i)
				}
				got = append(got, r.Submission.Visit.Number)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.warnings, warnings(records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSumsOverDifferentLesions(t *testing.T) {
	base := []string{"TR A 1 2020-01-01 TARGET T01 DIAMETER 30", "TR A 1 2020-01-01 TARGET T02 DIAMETER 20"}
	const compared = "|-11.0 mm|-11.0 mm|-11.0 mm"
	for _, c := range []struct {
		name     string
		targets  []string // id and diameter at the second visit
		want     string
		warnings []string
	}{
		{"a part alone beside the other target", []string{"T01 25", "T02.1 14"}, "39" + compared,
			[]string{"target lesions were split or merged since the baseline: T02.1 of T02; the sum of the diameters, 39 mm, is compared"}},
		{"parts without SUMDIAM", []string{"T01 25", "T02.1 8", "T02.2 6"}, "39" + compared,
			[]string{"target lesions were split or merged since the baseline: T02.1 of T02, T02.2 of T02; the sum of the diameters, 39 mm, is compared"}},
		{"two merged", []string{"T01/T02 39"}, "39" + compared,
			[]string{"target lesions were split or merged since the baseline: T01/T02 of T01 and T02; the sum of the diameters, 39 mm, is compared"}},
		{"a part that is NOT DONE", []string{"T01 25", "T02.1 8", "T02.2 ND"}, "no value",
			[]string{"no sum of diameters: target lesion T02.2 is NOT DONE (line 6)"}},
		{"a lesion beside a part of it", []string{"T01 25", "T02 8", "T02.1 6"}, "no value",
			[]string{"no sum of diameters: without SUMDIAM it is unclear whether T02.1 counts beside T02"}},
		{"a lesion beside a part of it, with SUMDIAM", []string{"T01 25", "T02 8", "T02.1 6", "- 39"}, "39" + compared,
			[]string{"target lesions were split or merged since the baseline: T02.1 of T02; SUMDIAM, 39 mm, is compared"}},
		{"T02a is a lesion of its own", []string{"T01 25", "T02a 14"}, "no value",
			[]string{"no sum of diameters: target lesion T02 has no row"}},
		{"merged with a lesion that is no target", []string{"T01 25", "T02/N01 14"}, "no value",
			[]string{"no sum of diameters: target lesion T02 has no row"}},
		{"one more, with SUMDIAM", []string{"T01 25", "T02 14", "T03 5", "- 43"}, "43|--|--|--", []string{
			"SUMDIAM is 43 (line 7), but the diameters of the target lesions add up to 44",
			"the baseline has no target lesion T03; SUMDIAM, 43 mm, is over different lesions and is not compared with other visits"}},
		{"one more that was not measured", []string{"T01 25", "T02 14", "T03 ND"}, "no value",
			[]string{"no sum of diameters: target lesion T03 is NOT DONE (line 6)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows := base
			for _, target := range c.targets {
				f := strings.Fields(target)
				test := "DIAMETER"
				if f[0] == "-" {
					test = "SUMDIAM"
				}
				rows = append(rows[:len(rows):len(rows)], "TR A 2 2020-02-01 TARGET "+f[0]+" "+test+" "+f[1])
			}
			rows = append(rows, "TR A 3 2020-03-01 TARGET T01 DIAMETER 31", "TR A 3 2020-03-01 TARGET T02 DIAMETER 20")
			records := readSDTM(t, smallSet(rows...), sdtm.Options{}, newRegistry())
			want := []string{"A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No", "A|101|Follow-up 1|2020-02-01|" + c.want + "|Undefined"}
			if strings.HasSuffix(c.want, compared) {
				want = append(want, "A|102|Follow-up 2|2020-03-01|51|+12.0 mm|+1.0 mm|+12.0 mm|Undefined")
			} else {
				want = append(want, "A|102|Follow-up 2|2020-03-01|51|+1.0 mm|+1.0 mm|+1.0 mm|Undefined")
			}
			if diff := cmp.Diff(want, lines(records)); diff != "" {
				t.Error(diff)
			}
			var warned []string
			for _, w := range records[1].Warnings {
				warned = append(warned, w.Text)
			}
			if diff := cmp.Diff(c.warnings, warned); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a part that was there before and is missing leaves no value", func(t *testing.T) {
		records := readSDTM(t, smallSet(append(base[:2:2],
			"TR A 2 2020-02-01 TARGET T01 DIAMETER 25", "TR A 2 2020-02-01 TARGET T02.1 DIAMETER 8", "TR A 2 2020-02-01 TARGET T02.2 DIAMETER 6",
			"TR A 3 2020-03-01 TARGET T01 DIAMETER 25", "TR A 3 2020-03-01 TARGET T02.1 DIAMETER 8")...), sdtm.Options{}, newRegistry())
		if got := lines(records)[2]; got != "A|102|Follow-up 2|2020-03-01|no value|Undefined" {
			t.Error(got)
		}
	})
	t.Run("lesions that have such names from the baseline on are lesions of their own", func(t *testing.T) {
		records := readSDTM(t, smallSet(
			"TR A 1 2020-01-01 TARGET 1 DIAMETER 30", "TR A 1 2020-01-01 TARGET 1.1 DIAMETER 20", "TR A 1 2020-01-01 TARGET L/2 DIAMETER 10",
			"TR A 2 2020-02-01 TARGET 1 DIAMETER 30", "TR A 2 2020-02-01 TARGET 1.1 DIAMETER 20", "TR A 2 2020-02-01 TARGET L/2 DIAMETER 9",
		), sdtm.Options{}, newRegistry())
		if got := lines(records)[1]; got != "A|101|Follow-up 1|2020-02-01|59|-1.0 mm|-1.0 mm|-1.0 mm|Undefined" {
			t.Error(got)
		}
		if w := warnings(records); w != nil {
			t.Error(w)
		}
	})
}

func TestRowsWithoutAnEvaluator(t *testing.T) {
	unnamed := func(files fstest.MapFS, name, from string) fstest.MapFS {
		return edited(t, files, name, from, strings.Replace(from, "INVESTIGATOR", "", 1))
	}
	small := smallSet(three...)
	alone := lines(readSDTM(t, small, sdtm.Options{}, newRegistry()))
	t.Run("are the investigator's where no other evaluator is named", func(t *testing.T) {
		records := readSDTM(t, unnamed(small, "tr.csv", "B,1,2020-01-01,INVESTIGATOR"), sdtm.Options{}, newRegistry())
		if diff := cmp.Diff(alone, lines(records)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("are left out where another is, whatever the order of the rows", func(t *testing.T) {
		for _, from := range []string{"A,3,2020-03-01,INVESTIGATOR,,NON-TARGET", "A,1,2020-01-01,INVESTIGATOR,,NON-TARGET"} {
			files := unnamed(small, "tr.csv", "B,1,2020-01-01,INVESTIGATOR")
			files = edited(t, files, "tr.csv", from, strings.Replace(from, "INVESTIGATOR", "READER", 1))
			records := readSDTM(t, files, sdtm.Options{}, newRegistry())
			if diff := cmp.Diff(alone[:3], lines(records)); diff != "" {
				t.Error(diff)
			}
			want := []string{"tr.csv:2: tr.csv:8: TREVAL: 1 row is without an evaluator, and left out because the file has rows by others"}
			if diff := cmp.Diff(want, warnings(records)); diff != "" {
				t.Error(diff)
			}
		}
	})
	t.Run("and are malformed are refused only where they count", func(t *testing.T) {
		files := edited(t, small, "tr.csv", "B,1,2020-01-01,INVESTIGATOR", ",1,2020-01-01,")
		if diff := cmp.Diff(append([]string{"tr.csv:8: USUBJID: is missing"}, alone[:3]...), lines(readSDTM(t, files, sdtm.Options{}, newRegistry()))); diff != "" {
			t.Error(diff)
		}
		files = edited(t, files, "tr.csv", "A,3,2020-03-01,INVESTIGATOR,,NON-TARGET", "A,3,2020-03-01,READER,,NON-TARGET")
		if diff := cmp.Diff(alone[:3], lines(readSDTM(t, files, sdtm.Options{}, newRegistry()))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("in TREVAL alone, the others are unknown as before", func(t *testing.T) {
		files := edited(t, small, "tr.csv", "TREVAL,TREVALID", "TREVAL_,TREVALID_")
		for _, c := range []struct{ evaluator, want string }{
			{"", ""}, {"READER", `tr.csv:1: TREVAL: no record is by "READER"; the file has records by INVESTIGATOR`},
		} {
			got := lines(readSDTM(t, files, sdtm.Options{Evaluator: c.evaluator}, newRegistry()))
			if c.want == "" && cmp.Diff(alone, got) != "" || c.want != "" && got[0] != c.want {
				t.Error(got)
			}
		}
	})
}

func TestCriteria(t *testing.T) {
	text := func(rows string) string {
		return leastTR + "TR S,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\n" + leastTU + "RS STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC,RSCAT,RSEVAL\n" + rows
	}
	for _, c := range []struct {
		name, rows, want string
		warnings         []string
	}{
		{"blank throughout", "RS S,A,1,OVRLRESP,PR,,INVESTIGATOR", "Partial Response",
			[]string{"tr.csv:2: rs.csv:2: RSCAT: no row names criteria; the overall responses are taken as by RECIST 1.1"}},
		{"blank beside others", "RS S,A,1,OVRLRESP,PR,,INVESTIGATOR\nRS S,A,1,NTRGRESP,PR,RECIST 1.1,INVESTIGATOR", "No",
			[]string{`tr.csv:2: rs.csv:2: RSCAT: overall responses that are not by RECIST 1.1 are left out: 1 (1 by "")`}},
		{"several others", "RS S,A,1,OVRLRESP,PD,iRECIST,INVESTIGATOR\nRS S,A,1,OVRLRESP,PR,RECIST 1.1,INVESTIGATOR\nRS S,A,2,OVRLRESP,PD,iRECIST,INVESTIGATOR\nRS S,B,1,OVRLRESP,PD,RECIST 1.0,INVESTIGATOR", "Partial Response",
			[]string{"tr.csv:2: rs.csv:2: RSCAT: overall responses that are not by RECIST 1.1 are left out: 3 (1 by RECIST 1.0, 2 by iRECIST)"}},
		{"equal responses twice", "RS S,A,1,OVRLRESP,PR,RECIST 1.1,INVESTIGATOR\nRS S,A,1,OVRLRESP,PR,RECIST 1.1,INVESTIGATOR", "Partial Response", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := readSDTM(t, csvSet(text(c.rows)), sdtm.Options{}, newRegistry())
			if got := records[0].Submission.Assessment.Conclusion; got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if diff := cmp.Diff(c.warnings, warnings(records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Rows that count in one file stay, whatever the rows of another file say.
func TestRowsWithoutAnEvaluatorAreDecidedInTheirFile(t *testing.T) {
	files := fstest.MapFS{
		"tr.csv": {Data: []byte("STUDYID,USUBJID,VISITNUM,TRDTC,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU\nS,A,1,2020-01-01,TARGET,T01,DIAMETER,30,mm\n")},
		"tu.csv": {Data: []byte("STUDYID,USUBJID,TULNKID,TULOC,TUEVAL\nS,A,T01,LIVER,\nS,A,T01,LIVER,READER\n")},
		"rs.csv": {Data: []byte("STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC,RSEVAL\nS,A,1,OVRLRESP,SD,\nS,A,1,OVRLRESP,SD,READER\n")},
	}
	records := readSDTM(t, files, sdtm.Options{}, newRegistry())
	if len(records) != 1 || records[0].Err != nil || records[0].Submission.Assessment.Measurement == nil {
		t.Fatalf("%+v", records)
	}
	if len(warnings(records)) == 0 {
		t.Error("what was left out of the other files is not named")
	}
}

func TestASubjectOfWhichAllIsRefusedKeepsItsCaseBesideRowsThatDoNotCount(t *testing.T) {
	tr := "STUDYID,USUBJID,VISITNUM,TRDTC,TREVAL,TRGRPID,TRLNKID,TRTESTCD,TRSTRESC,TRSTRESU\n" +
		"S,A,1,2020-01-01,INVESTIGATOR,TARGET,T01,DIAMETER,x,mm\n" +
		"S,B,1,2020-01-01,INVESTIGATOR,TARGET,T01,DIAMETER,30,mm\n"
	others := "S,B,2,2020-02-01,,TARGET,T01,DIAMETER,30,mm\nS,B,2,2020-02-01,READER,TARGET,T01,DIAMETER,30,mm\n"
	files := fstest.MapFS{
		"tr.csv": {Data: []byte(tr)},
		"tu.csv": {Data: []byte("STUDYID,USUBJID,TULNKID,TULOC\nS,A,T01,LIVER\nS,B,T01,LIVER\n")},
		"rs.csv": {Data: []byte("STUDYID,USUBJID,VISITNUM,RSTESTCD,RSSTRESC\n")},
	}
	ids := func() (all []string) {
		for _, r := range readSDTM(t, files, sdtm.Options{}, newRegistry()) {
			if r.Err == nil {
				all = append(all, r.Submission.Assessment.ID)
			}
		}
		return all
	}
	alone := ids()
	files["tr.csv"] = &fstest.MapFile{Data: []byte(tr + others)}
	if diff := cmp.Diff(alone, ids()); diff != "" || len(alone) != 1 {
		t.Errorf("%v (-alone +beside):\n%s", alone, diff)
	}
}
