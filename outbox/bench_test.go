package outbox_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

// BenchmarkSignOff measures sign-offs of assessments with and without lesions
// beside the least that could be done: bare inserts of the same bytes, one row
// for each sign-off, with the same fsync; for many callers with group commit
// too.
func BenchmarkSignOff(b *testing.B) {
	for _, lesions := range []int{0, 5} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("lesions=%d/callers=%d", lesions, callers), func(b *testing.B) {
				benchmarkSignOff(b, lesions, callers)
			})
		}
	}
}

func benchmarkSignOff(b *testing.B, lesions, callers int) {
	d := newOutbox(b)
	batch := make([]events.Assessment, b.N)
	for i := range batch {
		batch[i] = assessment(fmt.Sprint(i), int32(i/10+1), 1, 1)
		for l := range lesions {
			batch[i] = withLesions(batch[i], fmt.Sprintf("T%02d", l))
		}
	}
	d.register(batch...)
	sign := func(i int) error {
		_, err := d.SignOff(context.Background(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{batch[i].ID}})
		return err
	}
	size := 0
	insert := bareInserts(b, &size)
	// In turns, so that a busy machine is busy for both.
	const turns = 8
	var signing, inserting time.Duration
	b.ResetTimer()
	for turn := range turns {
		from, to := b.N*turn/turns, b.N*(turn+1)/turns
		signing += spread(b, callers, from, to, sign)
		b.StopTimer()
		if size == 0 {
			size = bytesPublished(b, d) / max(1, to)
		}
		inserting += spread(b, callers, from, to, insert)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/signing.Seconds(), "signoffs/s")
	b.ReportMetric(float64(b.N)/inserting.Seconds(), "bare/s")
	b.ReportMetric(signing.Seconds()/inserting.Seconds(), "times-bare")
	b.ReportMetric(float64(size), "bytes/signoff")
}

func bytesPublished(b *testing.B, d *testOutbox) (size int) {
	for _, e := range all(b, d.Outbox) {
		size += len(e.Data)
	}
	return size
}

// bareInserts returns what inserts a row of the size.
func bareInserts(b *testing.B, size *int) func(int) error {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bare.db"), sqlite.Config{})
	ok(b, err)
	b.Cleanup(func() { ok(b, db.Close()) })
	db.Writer.MustExec(`create table bare (row integer primary key, data blob not null) strict`)
	return func(int) error {
		row := make([]byte, *size)
		return db.Update(context.Background(), func(tx *sqlx.Tx) error {
			_, err := tx.Exec(`insert into bare (data) values (?)`, row)
			return err
		})
	}
}

// spread runs fn for from … to-1 in so many callers.
func spread(b *testing.B, callers, from, to int, fn func(i int) error) time.Duration {
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				if err := fn(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
