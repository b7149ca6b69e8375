package readmodel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// partners makes the access events of n partners.
func partners(n int) []events.Event {
	log := &study{number: events.AccessStudy}
	list := make([]events.Event, n)
	for i := range list {
		list[i] = log.partner(access.Partner{
			ID: fmt.Sprintf("partner-%05d", i), Name: "A partner", Studies: []string{"A", "B"},
			Secrets: []access.Secret{{SHA256: access.DigestSecret(fmt.Sprint(i))}}, Enabled: true,
		})
	}
	return list
}

// filledWith makes a file with a model of these events.
func filledWith(t testing.TB, list []events.Event) (path string) {
	t.Helper()
	path = newPath(t)
	m := open(t, path, quiet)
	if err := readmodel.Apply(context.Background(), m, list); err != nil {
		t.Fatal(err)
	}
	if got := len(m.Directory().Partners()); got != len(list) {
		t.Fatalf("%d partners of %d", got, len(list))
	}
	return path
}

func TestManyPartners(t *testing.T) {
	allocated := func(fn func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	list := partners(4000)
	var few, many string
	applied := [2]uint64{
		allocated(func() { few = filledWith(t, list[:1000]) }),
		allocated(func() { many = filledWith(t, list) }),
	}
	read := [2]uint64{
		allocated(func() { open(t, few, quiet) }),
		allocated(func() { open(t, many, quiet) }),
	}
	for what, took := range map[string][2]uint64{"apply": applied, "read": read} {
		t.Run("four times as many take about four times as much memory to "+what, func(t *testing.T) {
			if took[1] > 8*took[0] { // a copy for each partner takes 16 times as much
				t.Errorf("1,000 partners take %d bytes, 4,000 take %d", took[0], took[1])
			}
		})
	}
}

func TestADirectoryThatIsReadAgainIsNoOther(t *testing.T) {
	b := newBroker(t)
	b.publish(partners(3)...)
	path := newPath(t)
	m := open(t, path, quiet)
	stop := follow(t, m, b.reader)
	reaches(t, m, 3)
	stop()
	select {
	case <-m.Changed():
	default:
		t.Fatal("three partners have come, and nothing is said of it")
	}
	follow(t, m, b.reader) // which reads from the file what it goes on from
	b.publish((&study{number: "S"}).signed("1"))
	reaches(t, m, 4)
	select {
	case <-m.Changed():
		t.Error("the directory is said to be another one, and none has changed")
	default:
	}
	if !m.Directory().Same(open(t, path, quiet).Directory()) {
		t.Error("another that reads the same file has another directory")
	}
}

// Whoever has waited for a position decides by the directory of that position or a later one.
func TestTheDirectoryIsNeverOlderThanThePosition(t *testing.T) {
	list := partners(500)
	m := open(t, newPath(t), readmodel.Config{MaxBatch: 1, Log: quiet.Log})
	var reader sync.WaitGroup
	reader.Go(func() {
		for n := uint64(0); n < uint64(len(list)) && t.Context().Err() == nil; {
			n = m.Position().StreamSequence
			directory := m.Directory()
			if _, ok := directory.Partner(fmt.Sprintf("partner-%05d", max(n, 1)-1)); n > 0 && !ok {
				t.Errorf("the directory lacks the partner of message %d", n)
				return
			}
		}
	})
	if err := readmodel.Apply(t.Context(), m, list); err != nil {
		t.Fatal(err)
	}
	reader.Wait()
}

// BenchmarkReconnect reads what a model of 10,000 partners continues from after
// an interruption, and compares that with reading the same rows into a plain
// map. With -short there are 1,000.
func BenchmarkReconnect(b *testing.B) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	path := filledWith(b, partners(n))
	m := open(b, path, quiet)
	db, err := sqlite.Open(b.Context(), path, sqlite.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var resuming, reading time.Duration
	for b.Loop() {
		begun := time.Now()
		if err := readmodel.Resume(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		resuming += time.Since(begun)
		begun = time.Now()
		if got := plainMap(b, db); len(got) != n {
			b.Fatal(len(got))
		}
		reading += time.Since(begun)
	}
	b.ReportMetric(resuming.Seconds()*1000/float64(b.N), "ms-resume")
	b.ReportMetric(reading.Seconds()*1000/float64(b.N), "ms-plain-map")
	b.ReportMetric(float64(resuming)/float64(reading), "ratio")
}

func plainMap(b *testing.B, db *sqlite.DB) map[string]access.Partner {
	b.Helper()
	rows, err := db.Reader.Queryx("select body from access") //nolint:sqlclosecheck // it does not see that sqlx rows are closed
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]access.Partner)
	for rows.Next() {
		var body []byte
		var p access.Partner
		if err := rows.Scan(&body); err != nil {
			b.Fatal(err)
		}
		if err := json.Unmarshal(body, &p); err != nil {
			b.Fatal(err)
		}
		all[p.ID] = p
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return all
}
