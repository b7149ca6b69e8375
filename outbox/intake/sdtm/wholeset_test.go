package sdtm_test

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// record is a row of a file by column. No value of the committed files is
// quoted, so that they can be cut at commas.
type record map[string]string

func rawRecords(t *testing.T, files fstest.MapFS, name string) []record {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(files[name].Data)), "\n")
	header := strings.Split(lines[0], ",")
	var out []record
	for _, line := range lines[1:] {
		r := record{}
		for i, value := range strings.Split(line, ",") {
			r[header[i]] = value
		}
		out = append(out, r)
	}
	return out
}

// expectation recomputes a subject's assessments from the raw rows by the
// rules of RECIST 1.1 as this program documents them, with big.Rat where the
// importer has decimals, and looking at all rows again and again where the
// importer groups them.
type expectation struct {
	tr, tu, rs []record
}

// occasion is one assessment to be: a visit, or a date of the split one.
type occasion struct{ visit, date string }

// theSplitVisit is the only one in the set with two assessments.
const theSplitVisit = "01-711-1143 9.2"

func (e expectation) occasions() []occasion {
	effective := map[occasion]string{}
	for _, r := range e.tr {
		o := occasion{visit: r["VISITNUM"]}
		if r["USUBJID"]+" "+r["VISITNUM"] == theSplitVisit {
			o.date = r["TRDTC"]
		}
		if old, ok := effective[o]; !ok || r["TRDTC"] < old {
			effective[o] = r["TRDTC"]
		}
	}
	var out []occasion
	for o := range effective {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b occasion) int {
		if c := strings.Compare(effective[a], effective[b]); c != 0 {
			return c
		}
		return rat(a.visit).Cmp(rat(b.visit))
	})
	for i := range out {
		out[i].date = effective[out[i]]
	}
	return out
}

func rat(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(text)
	}
	return r
}

func (e expectation) at(o occasion) []record {
	var out []record
	for _, r := range e.tr {
		split := r["USUBJID"]+" "+r["VISITNUM"] == theSplitVisit
		if r["VISITNUM"] == o.visit && (!split || r["TRDTC"] == o.date) {
			out = append(out, r)
		}
	}
	return out
}

// value returns the sum of diameters at an occasion, "" where there is none.
func (e expectation) value(o, first occasion) string {
	for _, target := range e.at(first) {
		if target["TRGRPID"] != "TARGET" || target["TRTESTCD"] != "DIAMETER" {
			continue
		}
		measured := slices.ContainsFunc(e.at(o), func(r record) bool {
			return r["TRLNKID"] == target["TRLNKID"] && r["TRTESTCD"] == "DIAMETER" && r["TRSTAT"] == "" && r["TRSTRESC"] != ""
		})
		if !measured {
			return ""
		}
	}
	for _, r := range e.at(o) {
		if r["TRTESTCD"] == "SUMDIAM" {
			return r["TRSTRESC"]
		}
	}
	panic("the set has a sum at every visit")
}

func decimalsOf(text string) int {
	_, fraction, _ := strings.Cut(text, ".")
	return len(fraction)
}

func change(to, from string) string {
	if to == "" || from == "" {
		return "--"
	}
	difference := new(big.Rat).Sub(rat(to), rat(from))
	text := difference.FloatString(max(1, decimalsOf(to), decimalsOf(from)))
	if difference.Sign() > 0 {
		text = "+" + text
	}
	return text + " mm"
}

func (e expectation) conclusion(o occasion, baseline bool) string {
	for _, r := range e.rs {
		split := r["USUBJID"]+" "+r["VISITNUM"] == theSplitVisit
		if r["RSTESTCD"] != "OVRLRESP" || r["VISITNUM"] != o.visit || split && r["RSDTC"] != o.date {
			continue
		}
		switch r["RSSTRESC"] {
		case "CR":
			return "Complete Response"
		case "PR":
			return "Partial Response"
		case "SD":
			return "Stable Disease"
		case "PD":
			return "Progressive Disease"
		case "NE":
			return "Not Evaluable"
		case "NON-CR/NON-PD":
			return "Non-CR/Non-PD"
		}
	}
	if baseline {
		return "No"
	}
	return "Undefined"
}

func (e expectation) lesions(o occasion) []events.Lesion {
	var out []events.Lesion
	for _, r := range e.at(o) {
		test := map[string]string{"TARGET": "DIAMETER", "NON-TARGET": "TUMSTATE", "NEW": "TUMSTATE"}[r["TRGRPID"]]
		if r["TRLNKID"] == "" || r["TRTESTCD"] != test {
			continue
		}
		l := events.Lesion{ID: r["TRLNKID"], Modality: map[string]string{"CT SCAN": "CT"}[r["TRMETHOD"]]}
		for _, u := range e.tu {
			if u["TULNKID"] == l.ID {
				l.Organ = u["TULOC"]
			}
		}
		l.Category = map[string]string{"TARGET": "Target", "NON-TARGET": "Non-target", "NEW": "New lesion"}[r["TRGRPID"]]
		if r["TRGRPID"] == "TARGET" && r["TRSTAT"] == "" {
			l.Value, l.Unit = events.Decimal(r["TRSTRESC"]), "mm"
		}
		l.State = expectedState(r)
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b events.Lesion) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func expectedState(r record) string {
	switch key := r["TRGRPID"] + " " + r["TRSTRESC"]; {
	case r["TRSTAT"] == "NOT DONE":
		return "Not evaluable"
	case r["TRGRPID"] == "TARGET" && rat(r["TRSTRESC"]).Sign() == 0:
		return "Disappeared"
	case r["TRGRPID"] == "TARGET":
		return "Present"
	case key == "NON-TARGET PRESENT", key == "NEW UNEQUIVOCAL":
		return "Present"
	case key == "NON-TARGET ABSENT":
		return "Disappeared"
	case key == "NON-TARGET UNEQUIVOCAL":
		return "Uneqv. prog."
	case key == "NEW EQUIVOCAL", key == "NON-TARGET EQUIVOCAL":
		return "Undefined"
	}
	panic("no state")
}

// assessments returns what is to be expected of a subject, the k-th in its study.
func (e expectation) assessments(k int) []events.Assessment {
	var out []events.Assessment
	var values []string
	occasions := e.occasions()
	for i, o := range occasions {
		first := e.at(o)[0]
		a := events.Assessment{
			ID: fmt.Sprint(k*100 + i), Study: first["STUDYID"], SponsorStudy: first["STUDYID"], TrialName: first["STUDYID"],
			Criteria: "RECIST 1.1", Case: events.Case{ID: int32(k), Revision: 1}, Revision: 1,
			Name: "Baseline", Timepoint: int32(i), Subject: first["USUBJID"], Effective: o.date,
			Lesions: e.lesions(o), Conclusion: e.conclusion(o, i == 0),
		}
		if i > 0 {
			a.Name = fmt.Sprintf("Follow-up %d", i)
		}
		value := e.value(o, occasions[0])
		if value != "" {
			a.Measurement = expectedMeasurement(value, values)
		}
		values = append(values, value)
		out = append(out, a)
	}
	return out
}

// expectedMeasurement compares a value with those before it, "" for none.
func expectedMeasurement(value string, before []string) *events.Measurement {
	m := &events.Measurement{Type: "targetsum", Value: events.Decimal(value), Unit: "mm",
		ChangeFromPrevious: "--", ChangeFromBaseline: "0.0 mm", ChangeFromNadir: "--"}
	if len(before) == 0 {
		return m
	}
	previous, nadir := "", ""
	for _, b := range before {
		if b == "" {
			continue
		}
		previous = b
		if nadir == "" || rat(b).Cmp(rat(nadir)) < 0 {
			nadir = b
		}
	}
	m.ChangeFromPrevious, m.ChangeFromBaseline, m.ChangeFromNadir = change(value, previous), change(value, before[0]), change(value, nadir)
	return m
}

func bySubject(records []record) map[string][]record {
	out := map[string][]record{}
	for _, r := range records {
		out[r["USUBJID"]] = append(out[r["USUBJID"]], r)
	}
	return out
}

func TestTheWholeSetIsReadAsItsRowsSay(t *testing.T) {
	files := wholeSet(t)
	tr, tu, rs := bySubject(rawRecords(t, files, "tr.csv")), bySubject(rawRecords(t, files, "tu.csv")), bySubject(rawRecords(t, files, "rs.csv"))
	var subjects []string
	for s := range tr {
		subjects = append(subjects, s)
	}
	slices.Sort(subjects)
	if len(subjects) != 254 {
		t.Fatalf("%d subjects", len(subjects))
	}
	var want []events.Assessment
	for k, s := range subjects {
		want = append(want, expectation{tr[s], tu[s], rs[s]}.assessments(k+1)...)
	}

	records := readSDTM(t, files, sdtm.Options{}, newRegistry())
	if len(records) != 887 || len(want) != 887 {
		t.Fatalf("%d records, %d expected, of 887", len(records), len(want))
	}
	for i, r := range records {
		if diff := cmp.Diff(want[i], r.Submission.Assessment); r.Err != nil || diff != "" {
			t.Fatalf("%s: %v\n%s", r.Place(), r.Err, diff)
		}
	}
}

func TestWarningsOfTheWholeSet(t *testing.T) {
	records := readSDTM(t, wholeSet(t), sdtm.Options{}, newRegistry())
	notDone, other := 0, []string{}
	for _, w := range warnings(records) {
		if strings.Contains(w, "NOT DONE") {
			notDone++
		} else {
			other = append(other, w)
		}
	}
	if notDone != 22 {
		t.Errorf("%d visits without a value, not 22", notDone)
	}
	want := []string{`tr.csv:13237: rs.csv:1357: RSSTRESC: CHECK is no response of RECIST 1.1; the conclusion is "Undefined"`,
		"tr.csv:17302: tr.csv:17386: VISITNUM: the visits of subject 01-717-1174 are ordered by their dates, not by number: visit 9.3 (2013-05-01) before visit 9.2 (2013-05-04)",
		"tr.csv:991: tr.csv:1075: VISITNUM: the visits of subject 01-701-1153 are ordered by their dates, not by number: visit 9.3 (2013-12-30) before visit 9.2 (2014-01-08)",
	}
	if diff := cmp.Diff(want, other); diff != "" {
		t.Error(diff)
	}
}
