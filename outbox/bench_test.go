package outbox_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
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
	d := newDesk(b)
	ids := make([]string, b.N)
	batch := make([]events.Assessment, b.N)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
		batch[i] = assessment(ids[i], int32(i/10+1), 1, 1)
		for l := range lesions {
			batch[i] = withLesions(batch[i], fmt.Sprintf("T%02d", l))
		}
	}
	d.register(batch...)
	b.ResetTimer()
	c0 := cpu()
	took := spread(b, callers, func(i int) error {
		_, err := d.SignOff(context.Background(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: ids[i : i+1]})
		return err
	})
	b.StopTimer()
	b.ReportMetric(float64((cpu()-c0).Microseconds())/float64(b.N), "cpu-us")
	var size int
	log := all(b, d.Outbox)
	for _, e := range log {
		size += len(e.Data)
	}
	bare := bareInserts(b, callers, size/b.N)
	b.ReportMetric(float64(b.N)/took.Seconds(), "signoffs/s")
	b.ReportMetric(float64(b.N)/bare.Seconds(), "bare/s")
	b.ReportMetric(took.Seconds()/bare.Seconds(), "times-bare")
	b.ReportMetric(float64(size/b.N), "bytes/signoff")
}

// bareInserts writes b.N rows of the size.
func bareInserts(b *testing.B, callers, size int) time.Duration {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bare.db"), sqlite.Config{})
	ok(b, err)
	defer db.Close()
	db.Writer.MustExec(`create table bare (row integer primary key, data blob not null) strict`)
	row := make([]byte, size)
	return spread(b, callers, func(int) error {
		return db.Update(context.Background(), func(tx *sqlx.Tx) error {
			_, err := tx.Exec(`insert into bare (data) values (?)`, row)
			return err
		})
	})
}

// spread runs fn for 0 … b.N-1 in so many callers.
func spread(b *testing.B, callers int, fn func(i int) error) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
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

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(0, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
