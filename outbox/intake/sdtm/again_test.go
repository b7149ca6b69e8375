package sdtm_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// imported returns a registry in which the files were imported and signed.
func imported(t *testing.T, files fstest.MapFS) *registry {
	t.Helper()
	reg := newRegistry()
	reg.register(t, readSDTM(t, files, sdtm.Options{}, reg))
	reg.sign()
	return reg
}

// sumOf returns the row with the sum of a visit, up to where the sum stands.
func sumOf(t *testing.T, files fstest.MapFS, subject, visit string) string {
	t.Helper()
	for _, line := range strings.Split(string(files["tr.csv"].Data), "\n") {
		f := strings.Split(line, ",")
		if len(f) > 20 && f[2] == subject && f[7] == "SUMDIAM" && f[20] == visit {
			return strings.Join(f[:12], ",")
		}
	}
	t.Fatalf("%s %s has no sum", subject, visit)
	return ""
}

// withSum returns the files with another sum at a visit.
func withSum(t *testing.T, files fstest.MapFS, subject, visit, sum string) fstest.MapFS {
	t.Helper()
	row := sumOf(t, files, subject, visit)
	return edited(t, files, "tr.csv", row+",", row[:strings.LastIndex(row, ",")+1]+sum+",")
}

// revised returns name, revision and changes of what an import changed.
func revised(before map[string]events.KnownVisit, records []intake.Record) []string {
	var out []string
	for _, r := range records {
		a := r.Submission.Assessment
		if diff := cmp.Diff(before[a.ID].Latest, a); diff == "" || a.Measurement == nil {
			continue
		}
		m := a.Measurement
		out = append(out, strings.Join([]string{a.Name, a.Version().String(), string(m.Value),
			m.ChangeFromPrevious, m.ChangeFromBaseline, m.ChangeFromNadir}, "|"))
	}
	return out
}

func TestImportingAgain(t *testing.T) {
	files := wholeSet(t)

	t.Run("the same files changes nothing, signed or not", func(t *testing.T) {
		reg := newRegistry()
		if got := reg.register(t, readSDTM(t, files, sdtm.Options{}, reg)); got != (count{Taken: 887}) {
			t.Fatalf("first %+v", got)
		}
		if got := reg.register(t, readSDTM(t, files, sdtm.Options{}, reg)); got != (count{Unchanged: 887}) {
			t.Errorf("unsigned %+v", got)
		}
		reg.sign()
		if got := reg.register(t, readSDTM(t, files, sdtm.Options{}, reg)); got != (count{Unchanged: 887}) {
			t.Errorf("signed %+v", got)
		}
	})

	t.Run("a corrected value of the last visit is one new revision", func(t *testing.T) {
		reg := imported(t, files)
		before := of(readSDTM(t, files, sdtm.Options{}, reg), "01-701-1028")
		last := before[len(before)-1]
		visit := reg.known[last.ID].Visit.Number
		records := readSDTM(t, withSum(t, files, "01-701-1028", visit, "99.5"), sdtm.Options{}, reg)
		got := reg.register(t, records)
		if got != (count{Taken: 1, Unchanged: 886}) {
			t.Errorf("%+v", got)
		}
		a := reg.known[last.ID].Latest
		if a.Version() != (events.Version{CaseRevision: 1, Revision: 2}) || a.Measurement.Value != "99.5" {
			t.Errorf("%s, value %s", a.Version(), a.Measurement.Value)
		}
		again := readSDTM(t, withSum(t, files, "01-701-1028", visit, "98.5"), sdtm.Options{}, reg)
		if got := reg.register(t, again); got != (count{Taken: 1, Unchanged: 886}) || reg.known[last.ID].Latest.Revision != 2 {
			t.Errorf("corrected again while revision 2 waits: %+v, revision %d", got, reg.known[last.ID].Latest.Revision)
		}
	})

	t.Run("a corrected value before is a revision of each visit that is compared with it", func(t *testing.T) {
		small := smallSet(
			"TR A 1 2020-01-01 TARGET T01 DIAMETER 50",
			"TR A 2 2020-02-01 TARGET T01 DIAMETER 40",
			"TR A 3 2020-03-01 TARGET T01 DIAMETER 45",
			"TR A 4 2020-04-01 TARGET T01 DIAMETER 47",
			"TR A 5 2020-05-01 TARGET T01 DIAMETER 30",
			"TR A 6 2020-06-01 TARGET T01 DIAMETER 35",
			"TR B 1 2020-01-01 TARGET T01 DIAMETER 50",
		)
		for _, c := range []struct {
			name, from, to string
			want           []string
		}{
			{"which is the nadir of some: those and the next", "T01,DIAMETER,40,", "T01,DIAMETER,41,", []string{
				"Follow-up 1|case revision 1, revision 2|41|-9.0 mm|-9.0 mm|-9.0 mm",
				"Follow-up 2|case revision 1, revision 2|45|+4.0 mm|-5.0 mm|+4.0 mm",
				"Follow-up 3|case revision 1, revision 2|47|+2.0 mm|-3.0 mm|+6.0 mm",
				"Follow-up 4|case revision 1, revision 2|30|-17.0 mm|-20.0 mm|-11.0 mm",
			}},
			{"which is no nadir: it and the next", "T01,DIAMETER,45,", "T01,DIAMETER,46,", []string{
				"Follow-up 2|case revision 1, revision 2|46|+6.0 mm|-4.0 mm|+6.0 mm",
				"Follow-up 3|case revision 1, revision 2|47|+1.0 mm|-3.0 mm|+7.0 mm",
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				reg := imported(t, small)
				records := readSDTM(t, edited(t, small, "tr.csv", c.from, c.to), sdtm.Options{}, reg)
				if diff := cmp.Diff(c.want, revised(reg.known, records)); diff != "" {
					t.Error(diff)
				}
			})
		}
		t.Run("which is the baseline: all of the subject", func(t *testing.T) {
			reg := imported(t, small)
			corrected := edited(t, small, "tr.csv", "A,1,2020-01-01,INVESTIGATOR,,TARGET,T01,DIAMETER,50", "A,1,2020-01-01,INVESTIGATOR,,TARGET,T01,DIAMETER,51")
			if got := reg.register(t, readSDTM(t, corrected, sdtm.Options{}, reg)); got != (count{Taken: 6, Unchanged: 1}) {
				t.Errorf("%+v", got)
			}
		})
	})

	t.Run("a new subject in the middle keeps every id", func(t *testing.T) {
		reg := imported(t, files)
		more := fstest.MapFS{}
		for name, f := range files {
			more[name] = &fstest.MapFile{Data: withTwin(string(f.Data), "01-701-1015", "01-701-1020")}
		}
		records := readSDTM(t, more, sdtm.Options{}, reg)
		added := of(records, "01-701-1020")
		if got := reg.register(t, records); got != (count{Taken: len(added), Unchanged: 887}) || len(added) == 0 {
			t.Errorf("%+v with %d of the new subject", got, len(added))
		}
		if a := added[0]; a.ID != "25500" || a.Case.ID != 255 {
			t.Errorf("the new subject has case %d and id %s", a.Case.ID, a.ID)
		}
	})

	t.Run("a visit that is new takes the lowest free id, whatever its place", func(t *testing.T) {
		reg := imported(t, smallSet("TR A 1 2020-01-01 TARGET T01 DIAMETER 50", "TR A 3 2020-03-01 TARGET T01 DIAMETER 45"))
		records := readSDTM(t, smallSet(
			"TR A 1 2020-01-01 TARGET T01 DIAMETER 50",
			"TR A 2 2020-02-01 TARGET T01 DIAMETER 40",
			"TR A 3 2020-03-01 TARGET T01 DIAMETER 45",
		), sdtm.Options{}, reg)
		var got []string
		for _, a := range of(records, "A") {
			got = append(got, a.ID+" "+a.Name+" "+a.Version().String())
		}
		want := []string{
			"100 Baseline case revision 1, revision 1",
			"102 Follow-up 1 case revision 1, revision 1",
			"101 Follow-up 2 case revision 1, revision 2",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// withTwin puts a copy of a subject's rows, under another id, behind them.
func withTwin(csv, subject, twin string) []byte {
	lines := strings.SplitAfter(csv, "\n")
	var out, copies []string
	for _, line := range lines {
		if strings.Contains(line, ","+subject+",") {
			copies = append(copies, strings.Replace(line, subject, twin, 1))
		} else if len(copies) > 0 {
			out = append(out, copies...)
			copies = nil
		}
		out = append(out, line)
	}
	return []byte(strings.Join(append(out, copies...), ""))
}
