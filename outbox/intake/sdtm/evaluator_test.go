package sdtm_test

import (
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// byBoth has each row of the files twice: as the investigator's and, with
// another sum, as a radiologist's.
func byBoth(files fstest.MapFS) fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range files {
		lines := strings.SplitAfter(string(f.Data), "\n")
		all := lines[0]
		for _, l := range lines[1:] {
			all += l + strings.Replace(l, "INVESTIGATOR,", "INDEPENDENT ASSESSOR,RADIOLOGIST 1", 1)
		}
		out[name] = &fstest.MapFile{Data: []byte(all)}
	}
	return out
}

const radiologist = "INDEPENDENT ASSESSOR/RADIOLOGIST 1"

func TestEvaluators(t *testing.T) {
	files := byBoth(smallSet(three...))
	alone := lines(readSDTM(t, smallSet(three...), sdtm.Options{}, newRegistry()))

	t.Run("are read one at a time", func(t *testing.T) {
		for _, evaluator := range []string{"", sdtm.Investigator, radiologist} {
			records := readSDTM(t, files, sdtm.Options{Evaluator: evaluator}, newRegistry())
			if diff := cmp.Diff(alone, lines(records)); diff != "" {
				t.Errorf("%s: %s", evaluator, diff)
			}
		}
	})
	t.Run("cannot share assessment ids", func(t *testing.T) {
		reg := imported(t, files)
		got := lines(readSDTM(t, files, sdtm.Options{Evaluator: radiologist}, reg))
		if len(got) != 4 {
			t.Fatalf("%d records", len(got))
		}
		for _, l := range got {
			if !strings.HasSuffix(l, "USUBJID: the assessment ids of this subject's case are used by the import of INVESTIGATOR; give new cases other numbers with --case-offset") {
				t.Error(l)
			}
		}
	})
	t.Run("have cases of their own beyond an offset, and find them again without it", func(t *testing.T) {
		reg := imported(t, files)
		first := readSDTM(t, files, sdtm.Options{Evaluator: radiologist, CaseOffset: 1000}, reg)
		if got := reg.register(t, first); got != (count{Taken: 4}) {
			t.Fatalf("%+v", got)
		}
		if a := first[0].Submission.Assessment; a.ID != "100100" || a.Case.ID != 1001 {
			t.Errorf("case %d, id %s", a.Case.ID, a.ID)
		}
		for _, offset := range []int{0, 1000, 5000} {
			again := readSDTM(t, files, sdtm.Options{Evaluator: radiologist, CaseOffset: offset}, reg)
			if got := reg.register(t, again); got != (count{Unchanged: 4}) {
				t.Errorf("with offset %d: %+v", offset, got)
			}
		}
		if got := reg.register(t, readSDTM(t, files, sdtm.Options{}, reg)); got != (count{Unchanged: 4}) {
			t.Errorf("the investigator's: %+v", got)
		}
	})
	t.Run("of another study hold their ids too", func(t *testing.T) {
		reg := imported(t, files)
		other := fstest.MapFS{}
		for name, f := range files {
			other[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(f.Data), "\nS,", "\nS2,"))}
		}
		for _, l := range lines(readSDTM(t, other, sdtm.Options{}, reg)) {
			if !strings.Contains(l, "USUBJID: assessment id ") || !strings.Contains(l, " is used by the import of INVESTIGATOR in study S; give new cases") {
				t.Error(l)
			}
		}
		if got := reg.register(t, readSDTM(t, other, sdtm.Options{CaseOffset: 2}, reg)); got != (count{Taken: 4}) {
			t.Errorf("with an offset: %+v", got)
		}
	})
	t.Run("of two studies in the same files too", func(t *testing.T) {
		both := smallSet(three...)
		tr := string(both["tr.csv"].Data)
		rows := tr[strings.Index(tr, "\n")+1:]
		both["tr.csv"] = &fstest.MapFile{Data: []byte(tr + strings.ReplaceAll("\n"+rows, "\nS,", "\nS2,")[1:])}
		reg := newRegistry()
		if got := reg.register(t, readSDTM(t, both, sdtm.Options{}, reg)); got != (count{Taken: 4, Refused: 4}) {
			t.Errorf("%+v", got)
		}
		if got := reg.register(t, readSDTM(t, both, sdtm.Options{CaseOffset: 2}, reg)); got != (count{Taken: 4, Unchanged: 4}) {
			t.Errorf("with an offset: %+v", got)
		}
	})
	t.Run("that have no responses or organs at all are a warning", func(t *testing.T) {
		none := smallSet(three...)
		for _, name := range []string{"rs.csv", "tu.csv"} {
			none[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(none[name].Data), "INVESTIGATOR", "SOMEBODY"))}
		}
		want := []string{
			`tr.csv:2: rs.csv: RSEVAL: no record is by "INVESTIGATOR"; the file has records by SOMEBODY, so no assessment has a response`,
			`tr.csv:2: rs.csv:2: RSEVAL: 2 rows are by SOMEBODY, of whom tr.csv has no record, and left out`,
			`tr.csv:2: tu.csv: TUEVAL: no record is by "INVESTIGATOR"; the file has records by SOMEBODY, so no lesion has an organ`,
			`tr.csv:2: tu.csv:2: TUEVAL: 1 row is by SOMEBODY, of whom tr.csv has no record, and left out`,
		}
		if diff := cmp.Diff(want, warnings(readSDTM(t, none, sdtm.Options{}, newRegistry()))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCasesThatAreKnown(t *testing.T) {
	byHand := events.Assessment{ID: "790", Study: "S", Subject: "B", Case: events.Case{ID: 7, Revision: 3}}
	beside := events.Assessment{ID: "100", Study: "other", Subject: "Z", Case: events.Case{ID: 1, Revision: 1}}
	reg := newRegistry()
	reg.known["790"] = events.KnownVisit{Latest: byHand, Signed: true}
	reg.known["100"] = events.KnownVisit{Latest: beside}
	records := readSDTM(t, smallSet(three...), sdtm.Options{}, reg)

	t.Run("a subject known from elsewhere keeps its case, at the case's revision", func(t *testing.T) {
		if a := of(records, "B")[0]; a.Case != (events.Case{ID: 7, Revision: 3}) || a.ID != "700" || a.Revision != 1 {
			t.Errorf("id %s, case %+v, revision %d", a.ID, a.Case, a.Revision)
		}
	})
	t.Run("an id in use elsewhere is not free", func(t *testing.T) {
		if a := of(records, "A")[0]; a.ID != "101" || a.Case.ID != 1 {
			t.Errorf("id %s, case %+v", a.ID, a.Case)
		}
	})
	t.Run("a visit that is split later keeps its id at its date", func(t *testing.T) {
		reg := imported(t, smallSet("TR A 1 2020-01-09 TARGET T01 DIAMETER 8"))
		records := readSDTM(t, smallSet("TR A 1 2020-01-01 TARGET T01 DIAMETER 9", "TR A 1 2020-01-09 TARGET T01 DIAMETER 8"), sdtm.Options{}, reg)
		want := []string{
			"A|101|Baseline|2020-01-01|9|--|0.0 mm|--|No",
			"A|100|Follow-up 1|2020-01-09|8|-1.0 mm|-1.0 mm|-1.0 mm|Undefined",
		}
		if diff := cmp.Diff(want, lines(records)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a case holds a hundred assessments", func(t *testing.T) {
		reg := imported(t, smallSet("TR A 1 2020 TARGET T01 DIAMETER 9"))
		known := reg.known["100"]
		for _, id := range strings.Fields(manyIDs(101, 199)) {
			reg.known[id] = events.KnownVisit{Latest: events.Assessment{ID: id, Study: "S", Subject: "A", Case: known.Latest.Case}}
		}
		records := readSDTM(t, smallSet("TR A 1 2020 TARGET T01 DIAMETER 9", "TR A 2 2021 TARGET T01 DIAMETER 9"), sdtm.Options{}, reg)
		if got := lines(records)[1]; got != "tr.csv:3: VISITNUM: case 1 has no assessment id left of its 100" {
			t.Error(got)
		}
	})
	t.Run("an offset that is negative is refused, one too high refuses", func(t *testing.T) {
		emit, _ := collect()
		err := sdtm.ReadFrom(t.Context(), smallSet(three...), "", sdtm.Options{CaseOffset: -1}, newRegistry(), emit)
		if events.CodeOf(err) != events.Invalid {
			t.Errorf("%v", err)
		}
		for _, l := range lines(readSDTM(t, smallSet(three...), sdtm.Options{CaseOffset: math.MaxInt32}, newRegistry())) {
			if !strings.HasSuffix(l, "USUBJID: no case number is left above 2147483647") {
				t.Error(l)
			}
		}
	})
	t.Run("a twenty-seventh visit has no name", func(t *testing.T) {
		var rows []string
		for _, day := range strings.Fields(manyIDs(10, 36)) {
			rows = append(rows, "TR A "+day+" 20"+day+" TARGET T01 DIAMETER 9")
		}
		got := lines(readSDTM(t, smallSet(rows...), sdtm.Options{}, newRegistry()))
		if got[26] != `tr.csv:28: VISITNUM: "Follow-up 26" is neither Baseline nor Follow-up 1 to Follow-up 25` {
			t.Error(got[26])
		}
	})
}
