package sdtm_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// three is a subject with three visits and one with one.
var three = []string{
	"TR A 1 2020-01-01 TARGET T01 DIAMETER 50", // line 2
	"TR A 1 2020-01-01 NON-TARGET N01 TUMSTATE PRESENT",
	"TR A 2 2020-02-01 TARGET T01 DIAMETER 40", // line 4
	"TR A 2 2020-02-01 NON-TARGET N01 TUMSTATE PRESENT",
	"TR A 3 2020-03-01 TARGET T01 DIAMETER 30", // line 6
	"TR A 3 2020-03-01 NON-TARGET N01 TUMSTATE ABSENT",
	"TR B 1 2020-01-01 TARGET T01 DIAMETER 20", // line 8
	"RS A 2 2020-02-01 PR",
}

func TestRefusalsOfSDTM(t *testing.T) {
	const (
		baseline = "A|100|Baseline|2020-01-01|50|--|0.0 mm|--|No"
		followUp = "A|101|Follow-up 1|2020-02-01|40|-10.0 mm|-10.0 mm|-10.0 mm|Partial Response"
		last     = "A|102|Follow-up 2|2020-03-01|30|-10.0 mm|-20.0 mm|-10.0 mm|Undefined"
		other    = "B|200|Baseline|2020-01-01|20|--|0.0 mm|--|No"
	)
	for _, c := range []struct {
		name, file, from, to string
		want                 []string
		warnings             []string
	}{
		{
			name: "a value that is no number leaves later changes unknown: those visits are refused with it",
			file: "tr.csv", from: "DIAMETER,40,", to: "DIAMETER,<40,",
			want: []string{
				baseline,
				"tr.csv:4: TRSTRESC: <40 is not a number from 0 on of at most 18 digits, such as 37.6",
				"tr.csv:6: VISITNUM: the changes of visit 3 cannot be known while visit 2 is refused (line 4)",
				other,
			},
		},
		{
			name: "of the baseline too",
			file: "tr.csv", from: "DIAMETER,50,mm", to: "DIAMETER,50,cm",
			want: []string{
				"tr.csv:2: TRSTRESU: cm is not mm",
				"tr.csv:4: VISITNUM: the changes of visit 2 cannot be known while visit 1 is refused (line 2)",
				"tr.csv:6: VISITNUM: the changes of visit 3 cannot be known while visit 1 is refused (line 2)",
				other,
			},
		},
		{
			name: "a value without a unit is left out; a later visit without a value has no changes",
			file: "tr.csv", from: "DIAMETER,40,mm,,CT SCAN\nS,A,2,2020-02-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,PRESENT,,,CT SCAN\nS,A,3,2020-03-01,INVESTIGATOR,,TARGET,T01,DIAMETER,30,mm,,",
			to: "DIAMETER,40,,,CT SCAN\nS,A,2,2020-02-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,PRESENT,,,CT SCAN\nS,A,3,2020-03-01,INVESTIGATOR,,TARGET,T01,DIAMETER,,,NOT DONE,",
			want: []string{
				baseline,
				"A|101|Follow-up 1|2020-02-01|no value|Partial Response",
				"A|102|Follow-up 2|2020-03-01|no value|Undefined",
				other,
			},
			warnings: []string{
				"tr.csv:4: no sum of diameters: target lesion T01 has no value of DIAMETER",
				"tr.csv:4: tr.csv:4: TRSTRESU: DIAMETER of lesion T01 has no unit; its value 40 is left out",
				"tr.csv:6: no sum of diameters: target lesion T01 is NOT DONE (line 6)",
			},
		},
		{
			name: "a state that is unknown leaves the value certain: later visits are taken",
			file: "tr.csv", from: "A,2,2020-02-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,PRESENT", to: "A,2,2020-02-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,LARGER",
			want: []string{
				baseline,
				"tr.csv:5: TRSTRESC: LARGER is an unknown state of a lesion",
				strings.Replace(last, "102", "101", 1),
				other,
			},
		},
		{
			name: "a date that is none, beside good ones, refuses its visit alone",
			file: "tr.csv", from: "A,2,2020-02-01,INVESTIGATOR,,NON-TARGET", to: "A,2,2020-02-30,INVESTIGATOR,,NON-TARGET",
			want: []string{
				baseline,
				"tr.csv:5: TRDTC: is no date of the calendar: 2020-02-30",
				strings.Replace(last, "102", "101", 1),
				other,
			},
		},
		{
			name: "a visit without any date is refused alone",
			file: "tr.csv", from: "A,3,2020-03-01,INVESTIGATOR,,TARGET,T01,DIAMETER,30,mm,,CT SCAN\nS,A,3,2020-03-01", to: "A,3,,INVESTIGATOR,,TARGET,T01,DIAMETER,30,mm,,CT SCAN\nS,A,3,",
			want: []string{
				baseline, followUp,
				"tr.csv:6: TRDTC: no row of the visit has a date",
				other,
			},
		},
		{
			name: "a category that is unknown",
			file: "tr.csv", from: "A,3,2020-03-01,INVESTIGATOR,,TARGET", to: "A,3,2020-03-01,INVESTIGATOR,,TARGETS",
			want: []string{baseline, followUp, "tr.csv:6: TRGRPID: TARGETS is none of TARGET, NON-TARGET and NEW", other},
		},
		{
			name: "a diameter of no lesion",
			file: "tr.csv", from: "A,3,2020-03-01,INVESTIGATOR,,TARGET,T01", to: "A,3,2020-03-01,INVESTIGATOR,,TARGET,",
			want: []string{baseline, followUp, "tr.csv:6: TRLNKID: is missing", other},
		},
		{
			name: "a repeat on one date with another value",
			file: "tr.csv", from: "S,B,1,", to: "S,A,3,2020-03-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,PRESENT,,,CT SCAN\nS,B,1,",
			want: []string{baseline, followUp, "tr.csv:8: TRLNKID: lesion N01 has TUMSTATE twice on one date with different values, first in line 7", other},
		},
		{
			name: "two sums of one visit",
			file: "tr.csv", from: "S,B,1,", to: "S,A,3,2020-03-01,INVESTIGATOR,,TARGET,,SUMDIAM,30,mm,,\nS,A,3,2020-03-01,INVESTIGATOR,,TARGET,,SUMDIAM,31,mm,,\nS,B,1,",
			want: []string{baseline, followUp, "tr.csv:9: TRSTRESC: the sum of diameters is 31 here and 30 in line 8", other},
		},
		{
			name: "two responses of one visit",
			file: "rs.csv", from: "S,A,2,2020-02-01,INVESTIGATOR,,RECIST 1.1,OVRLRESP,PR\n", to: "S,A,2,2020-02-01,INVESTIGATOR,,RECIST 1.1,OVRLRESP,PR\nS,A,2,2020-02-01,INVESTIGATOR,,RECIST 1.1,OVRLRESP,SD\n",
			want: []string{
				baseline,
				"rs.csv:4: RSSTRESC: the overall response of visit 2 is SD here and PR in line 3",
				strings.Replace(last, "102", "101", 1),
				other,
			},
		},
		{
			name: "a row without subject is refused alone, and the rows around it warn",
			file: "tr.csv", from: "S,A,3,2020-03-01,INVESTIGATOR,,TARGET", to: "S,,3,2020-03-01,INVESTIGATOR,,TARGET",
			want: []string{
				"tr.csv:6: USUBJID: is missing",
				baseline, followUp, "A|102|Follow-up 2|2020-03-01|no value|Undefined", other,
			},
			warnings: []string{
				"tr.csv:4: tr.csv:6 was refused and may belong here",
				"tr.csv:7: no sum of diameters: target lesion T01 has no row",
				"tr.csv:7: tr.csv:6 was refused and may belong here",
			},
		},
		{
			name: "a row without visit",
			file: "tr.csv", from: "S,B,1,", to: "S,B,one,2020-01-01,INVESTIGATOR,,TARGET,T02,DIAMETER,1,mm,,\nS,B,1,",
			want: []string{"tr.csv:8: VISITNUM: one is not a number such as 9.2", baseline, followUp, last, other},
			warnings: []string{
				"tr.csv:6: tr.csv:8 was refused and may belong here",
				"tr.csv:9: tr.csv:8 was refused and may belong here",
			},
		},
		{
			name: "a row with fields too few",
			file: "rs.csv", from: "S,A,2,2020-02-01,INVESTIGATOR,,RECIST 1.1,OVRLRESP,PR", to: "S,A,2,2020-02-01,INVESTIGATOR,,RECIST 1.1,OVRLRESP",
			want: []string{
				"rs.csv:3: the record has 8 fields where the header has 9",
				baseline, strings.Replace(followUp, "Partial Response", "Undefined", 1), last, other,
			},
		},
		{
			name: "a row that is not UTF-8",
			file: "tr.csv", from: "S,B,1,2020-01-01,INVESTIGATOR,,TARGET,T01", to: "S,B,1,2020-01-01,INVESTIGATOR,,TARGET,T\xff",
			want:     []string{"tr.csv:8: TRLNKID: is not valid UTF-8", baseline, followUp, last},
			warnings: []string{"tr.csv:6: tr.csv:8 was refused and may belong here"},
		},
		{
			name: "a quote in the middle of a field",
			file: "tr.csv", from: "S,B,1,2020-01-01,INVESTIGATOR,,TARGET,T01", to: "S,B,1,2020-01-01,INVESTIGATOR,,TARGET,T\"01",
			want:     []string{`tr.csv:8: what stands from here to line 8 is not CSV: bare " in non-quoted-field`, baseline, followUp, last},
			warnings: []string{"tr.csv:6: tr.csv:8 was refused and may belong here"},
		},
		{
			name: "a quote that is never closed",
			file: "tr.csv", from: "S,A,3,2020-03-01,INVESTIGATOR,,TARGET,T01", to: "S,A,3,2020-03-01,INVESTIGATOR,,TARGET,\"T01",
			want:     []string{`tr.csv:6: what stands from here to line 8 is not CSV: extraneous or missing " in quoted-field`, baseline, followUp},
			warnings: []string{"tr.csv:4: tr.csv:6 was refused and may belong here"},
		},
		{
			name: "a subject that no assessment can have",
			file: "tr.csv", from: "S,B,1,", to: "S,B\u0007,1,",
			want: []string{baseline, followUp, last, "tr.csv:8: USUBJID: has a control character, or white space at an end"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := edited(t, smallSet(three...), c.file, c.from, c.to)
			records := readSDTM(t, files, sdtm.Options{}, newRegistry())
			if diff := cmp.Diff(c.want, lines(records)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.warnings, warnings(records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsRefusedKeepsItsNameForWhenItIsRepaired(t *testing.T) {
	good := smallSet(three...)
	bad := edited(t, good, "tr.csv", "A,2,2020-02-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,PRESENT", "A,2,2020-02-01,INVESTIGATOR,,NON-TARGET,N01,TUMSTATE,LARGER")
	reg := imported(t, bad)
	if got := reg.register(t, readSDTM(t, good, sdtm.Options{}, reg)); got != (count{Taken: 1, Unchanged: 3}) {
		t.Errorf("%+v", got)
	}
}

func TestFilesOfSDTMThatCannotBeRead(t *testing.T) {
	whole := func(name, text string) fstest.MapFS {
		files := smallSet(three...)
		files[name] = &fstest.MapFile{Data: []byte(text)}
		return files
	}
	small := smallSet(three...)
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		opts  sdtm.Options
		want  string
	}{
		{"a needed column is missing", edited(t, small, "tr.csv", ",TRLNKID,", ",TRLINK,"), sdtm.Options{},
			"tr.csv:1: TRLNKID: the header lacks TRLNKID; add it, empty if it has no values"},
		{"all columns of which one is needed are missing", edited(t, small, "rs.csv", ",RSSTRESC", ",RESULT"), sdtm.Options{},
			"rs.csv:1: RSSTRESC: the header lacks RSSTRESC or RSORRES; add it, empty if it has no values"},
		{"a file is compressed", whole("tr.csv", "\x1f\x8b\x08\x00"), sdtm.Options{},
			"tr.csv:1: the file is compressed with gzip, not CSV; write it as CSV in UTF-8"},
		{"a needed column is there twice", edited(t, small, "rs.csv", ",RSDTC,", ",RSSTRESC,"), sdtm.Options{},
			"rs.csv:1: RSSTRESC: the header has this column twice"},
		{"a file is empty", whole("tu.csv", ""), sdtm.Options{}, "tu.csv:1: the file is empty"},
		{"a file is spaces without end", whole("tr.csv", strings.Repeat(" ", 3<<20)), sdtm.Options{},
			"tr.csv:1: a record has more than 1 MiB; the rest of the file is not read"},
		{"a record is too large", edited(t, small, "tr.csv", "S,B,1,", "S,\"B"+strings.Repeat("\n", 2<<20)), sdtm.Options{},
			"tr.csv:8: a record has more than 1 MiB; the rest of the file is not read"},
		{"an evaluator is unknown", edited(t, small, "tr.csv", "S,B,1,2020-01-01,INVESTIGATOR,,", "S,B,1,2020-01-01,INDEPENDENT ASSESSOR,RADIOLOGIST 1,"),
			sdtm.Options{Evaluator: "INDEPENDENT ASSESSOR"},
			`tr.csv:1: TREVAL: no record is by "INDEPENDENT ASSESSOR"; the file has records by INDEPENDENT ASSESSOR/RADIOLOGIST 1, INVESTIGATOR`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records := readSDTM(t, c.files, c.opts, newRegistry())
			if diff := cmp.Diff([]string{c.want}, lines(records)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a file is missing", func(t *testing.T) {
		emit, _ := collect()
		err := sdtm.Read(t.Context(), t.TempDir(), sdtm.Options{}, newRegistry(), emit)
		if events.CodeOf(err) != events.NotFound || !strings.Contains(err.Error(), "tr.csv is missing") {
			t.Errorf("%v", err)
		}
	})
}

func TestFormsOfCSVThatAreTaken(t *testing.T) {
	want := lines(readSDTM(t, smallSet(three...), sdtm.Options{}, newRegistry()))
	for name, change := range map[string]func(string) string{
		"a byte order mark":       func(s string) string { return "\ufeff" + s },
		"lines that end in CR LF": func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"no newline at the end":   func(s string) string { return strings.TrimSuffix(s, "\n") },
		"quoted fields":           func(s string) string { return strings.ReplaceAll(s, "INVESTIGATOR", `"INVESTIGATOR"`) },
		"more columns, before ours": func(s string) string {
			return "COMMENT," + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n\"a\xff, b\",") + "\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := smallSet(three...)
			for _, f := range files {
				f.Data = []byte(change(string(f.Data)))
			}
			records := readSDTM(t, files, sdtm.Options{}, newRegistry())
			if diff := cmp.Diff(want, lines(records)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
