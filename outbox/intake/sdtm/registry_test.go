package sdtm_test

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// registry is a Registry in memory.
type registry struct {
	known map[string]events.KnownVisit // by assessment id
}

func newRegistry() *registry { return &registry{known: map[string]events.KnownVisit{}} }

func (r *registry) Visits(_ context.Context, study string) ([]events.KnownVisit, error) {
	var out []events.KnownVisit
	for _, k := range r.known {
		if k.Latest.Study == study {
			out = append(out, k)
		}
	}
	return out, nil
}

func (r *registry) VisitsByID(_ context.Context, ids []string) (map[string]events.KnownVisit, error) {
	out := map[string]events.KnownVisit{}
	for _, id := range ids {
		if k, ok := r.known[id]; ok {
			out[id] = k
		}
	}
	return out, nil
}

// count is what became of an import.
type count struct{ Taken, Unchanged, Refused int }

// register registers the good records, as an outbox would.
func (r *registry) register(t *testing.T, records []intake.Record) count {
	t.Helper()
	var c count
	for _, rec := range records {
		a := rec.Submission.Assessment
		known, ok := r.known[a.ID]
		switch {
		case rec.Err != nil:
			c.Refused++
			continue
		case ok && reflect.DeepEqual(known.Latest, a):
			c.Unchanged++
			known.Visit = rec.Submission.Visit
			r.known[a.ID] = known
			continue
		case ok && (a.Study != known.Latest.Study || a.Case.ID != known.Latest.Case.ID || a.Subject != known.Latest.Subject):
			t.Errorf("%s takes id %s from %s", rec.Place(), a.ID, known.Latest.Subject)
		case ok && known.Signed && !known.Latest.Version().Less(a.Version()):
			t.Errorf("%s changes %s, which is signed, within %s", rec.Place(), a.ID, a.Version())
		}
		c.Taken++
		r.known[a.ID] = events.KnownVisit{Latest: a, Visit: rec.Submission.Visit}
	}
	return c
}

// sign signs all that waits.
func (r *registry) sign() {
	for id, k := range r.known {
		k.Signed = true
		r.known[id] = k
	}
}

// collect returns an emit and what it was called with.
func collect() (func(intake.Record) error, *[]intake.Record) {
	var records []intake.Record
	return func(r intake.Record) error {
		records = append(records, r)
		return nil
	}, &records
}

// readSDTM imports the files and requires that every good record is valid.
func readSDTM(t *testing.T, files fstest.MapFS, opts sdtm.Options, reg sdtm.Registry) []intake.Record {
	t.Helper()
	emit, records := collect()
	if err := sdtm.ReadFrom(t.Context(), files, "", opts, reg, emit); err != nil {
		t.Fatal(err)
	}
	for _, r := range *records {
		if r.Err == nil {
			if err := r.Submission.Assessment.Validate(); err != nil {
				t.Errorf("%s: emitted, but %v", r.Place(), err)
			}
		} else if !reflect.DeepEqual(r.Submission, events.Submission{}) {
			t.Errorf("%s: refused, but something is emitted", r.Place())
		}
	}
	return *records
}

// wholeSet returns the committed SDTM files.
func wholeSet(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"tr.csv", "tu.csv", "rs.csv"} {
		f, err := os.Open(filepath.Join("testdata", name+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// edited returns the files with one text of one file replaced.
func edited(t testing.TB, files fstest.MapFS, name, from, to string) fstest.MapFS {
	t.Helper()
	text := string(files[name].Data)
	if strings.Count(text, from) != 1 {
		t.Fatalf("%s has %q %d times", name, from, strings.Count(text, from))
	}
	out := fstest.MapFS{}
	for n, f := range files {
		out[n] = f
	}
	out[name] = &fstest.MapFile{Data: []byte(strings.Replace(text, from, to, 1))}
	return out
}

// of returns the good assessments of a subject.
func of(records []intake.Record, subject string) []events.Assessment {
	var out []events.Assessment
	for _, r := range records {
		if r.Submission.Assessment.Subject == subject {
			out = append(out, r.Submission.Assessment)
		}
	}
	return out
}

// refusals returns the refusals as file:line: field.
func refusals(records []intake.Record) []string {
	var out []string
	for _, r := range records {
		if r.Err != nil {
			out = append(out, r.Place()+": "+r.Err.Field)
		}
	}
	return out
}

// warnings returns all warnings, sorted.
func warnings(records []intake.Record) []string {
	var out []string
	for _, r := range records {
		for _, w := range r.Warnings {
			out = append(out, r.Place()+": "+w.Text)
		}
	}
	slices.Sort(out)
	return out
}

// manyIDs returns the numbers from first to last.
func manyIDs(first, last int) string {
	var b strings.Builder
	for n := first; n <= last; n++ {
		b.WriteString(strconv.Itoa(n) + " ")
	}
	return b.String()
}
