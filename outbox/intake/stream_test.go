package intake_test

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// repeated is a text that is repeated up to a number of bytes. It looks at
// the heap every few megabytes and keeps the highest figure in peak.
type repeated struct {
	text  string
	left  int
	peak  *uint64
	since int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if r.since -= len(p); r.since < 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		*r.peak = max(*r.peak, m.HeapAlloc)
		r.since = 4 << 20
	}
	n := 0
	for n+len(r.text) <= len(p) && n < r.left {
		n += copy(p[n:], r.text)
	}
	r.left -= n
	return n, nil
}

func TestMemoryStaysFlat(t *testing.T) {
	const gigabyte = 1 << 30
	block := strings.Repeat(" ", 4<<10)
	letters := strings.Repeat("a", 4<<10)
	for _, c := range []struct {
		name, file, before, text, after string
		size                            int
		want                            []string // the first and the last result
	}{
		{"a gigabyte of spaces", "a.json", "", block, "", gigabyte,
			[]string{"a.json:1: more than 1 MiB of white space; the rest of the file is not read"}},
		{"a gigabyte of spaces in an array", "a.json", "[" + oneLine("1") + ",", block, "]", gigabyte,
			[]string{"a.json:1 1", "a.json:1: more than 1 MiB of white space; the rest of the file is not read"}},
		{"a line of a gigabyte of spaces", "a.ndjson", oneLine("1") + "\n", block, "\n" + oneLine("2"), gigabyte,
			[]string{"a.ndjson:1 1", "a.ndjson:3 2"}},
		{"a line of a gigabyte", "a.ndjson", oneLine("1") + "\n\"", letters, "\"\n" + oneLine("2"), gigabyte,
			[]string{"a.ndjson:1 1", "a.ndjson:3 2"}},
		{"a huge string", "a.json", `{"id":"`, letters, `"}`, gigabyte / 32,
			[]string{"a.json:1: the record has more than 1 MiB"}},
		{"a huge string beside a good record", "a.json", `["`, letters, `",` + oneLine("2") + "]", gigabyte / 32,
			[]string{"a.json:1: the record has more than 1 MiB", "a.json:1 2"}},
		{"an entry of a Bundle without end", "a.json", `{"resourceType":"Bundle","entry":[{"id":"`, letters, `"}]}`, 80 << 20,
			[]string{"a.json:1: the Bundle has more than 64 MiB, or 1 MiB where it is not the whole file"}},
		{"brackets without end", "a.json", "", "[", "", 64 << 10,
			[]string{"a.json:1: [0]"}},
		{"values without end in one record", "a.json", `{"lesions":[1`, ",1", "]}", 512 << 10,
			[]string{"a.json:1: lesions[49998]: is nested deeper than 32 levels, or the record has more than 50000 values"}},
		{"many elements", "a.json", "[1", ",1", "," + oneLine("2") + "]", 2 * 100_000,
			[]string{"a.json:1: must be an object, not a number", "a.json:1 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var peak uint64
			src := io.MultiReader(strings.NewReader(c.before), &repeated{text: c.text, left: c.size, peak: &peak}, strings.NewReader(c.after))
			var first, last intake.Record
			calls := 0
			err := intake.ReadFrom(t.Context(), src, c.file, func(r intake.Record) error {
				if calls++; calls == 1 {
					first = r
				}
				last = r
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got := results([]intake.Record{first, last})
			for i, want := range c.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got %s, want %s", got[i], want)
				}
			}
			limit := uint64(32 << 20)
			if strings.Contains(c.name, "Bundle") {
				limit = 256 << 20 // a Bundle is read whole, up to 64 MiB, into a buffer that grows by doubling
			}
			if peak > before.HeapAlloc+limit {
				t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, peak)
			}
		})
	}
}

func TestTwoThousandLesionsAreTooMany(t *testing.T) {
	text := strings.Replace(good, `{"id": "T02",`, strings.Repeat(`{"id": "T02"},`, 2000)+`{"id": "T02",`, 1)
	want := []string{"a.json:21: lesions: has 2002 entries; at most 500 are allowed"}
	if diff := cmp.Diff(want, results(read(t, "a.json", text))); diff != "" {
		t.Error(diff)
	}
}
