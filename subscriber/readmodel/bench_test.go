package readmodel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
	"github.com/seed-e88a4ece/signoff/subscriber/stream/streamtest"
)

// manyReports returns how many reports the benchmarks have: 20,000, with -short 1,000.
func manyReports() int {
	if testing.Short() {
		return 1000
	}
	return 20_000
}

// large makes n signed reports of about 4.5 KB.
func large(s *study, n int) []events.Event {
	list := make([]events.Event, n)
	for i := range list {
		a := s.assessment(fmt.Sprint(100_000 + i))
		a.Subject = fmt.Sprintf("SUBJECT-%04d", i/20)
		a.Case.ID = int32(i/20 + 1)
		a.Lesions = nil
		for l := range 16 {
			a.Lesions = append(a.Lesions, events.Lesion{ID: fmt.Sprintf("T%02d", l)})
		}
		list[i] = s.sign(events.ReportSigned, a)
	}
	return list
}

// BenchmarkApply applies a backlog, and compares that with inserting the rows that it
// leads to, prepared, 500 events per transaction, into tables with the same indexes.
// Applying also receives the events from the server, verifies their hashes and parses
// them. The ratio is that of the times, cpu-ratio that of the processor times, the
// server's included. The consumer ratios are of applying
// what a consumer delivers, which the reader may not create.
func BenchmarkApply(b *testing.B) {
	backlog := manyReports()
	broker := newBroker(b)
	list := large(&study{number: "S1"}, backlog)
	brokertest.PublishBatches(b, broker.writer, list)
	b.ReportMetric(float64(len(list[0].Data)), "B/report")
	for b.Loop() {
		path := newPath(b)
		m := open(b, path, quiet)
		start, startCPU := time.Now(), streamtest.ProcessorTime(b)
		stop := follow(b, m, broker.reader)
		reaches(b, m, uint64(backlog))
		applying, applyingCPU := time.Since(start), streamtest.ProcessorTime(b)-startCPU
		stop()
		inserting, insertingCPU := insertSame(b, path)
		startCPU = streamtest.ProcessorTime(b)
		consumed := applyConsumed(b, broker.writer, backlog)
		consumedCPU := streamtest.ProcessorTime(b) - startCPU
		b.ReportMetric(float64(backlog)/applying.Seconds(), "events/s")
		b.ReportMetric(float64(backlog)/inserting.Seconds(), "bare-events/s")
		b.ReportMetric(inserting.Seconds()/applying.Seconds(), "ratio")
		b.ReportMetric(insertingCPU.Seconds()/applyingCPU.Seconds(), "cpu-ratio")
		b.ReportMetric(consumed.Seconds()/applying.Seconds(), "consumer-ratio")
		b.ReportMetric(consumedCPU.Seconds()/applyingCPU.Seconds(), "consumer-cpu-ratio")
		b.ReportMetric(float64(applyingCPU.Microseconds())/float64(backlog), "cpu-µs/event")
	}
}

// applyConsumed returns how long a new model takes to apply n events that a consumer
// delivers, with the checks of a stream.Reader.
func applyConsumed(b *testing.B, js jetstream.JetStream, n int) time.Duration {
	b.Helper()
	m := open(b, newPath(b), quiet)
	start := time.Now()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- streamtest.Consume(ctx, js, readmodel.Applier(m)) }()
	reaches(b, m, uint64(n))
	took := time.Since(start)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return took
}

// insertSame inserts the reports, bodies and events of one model into an empty one, in
// the order in which they were applied, and returns how long that takes.
func insertSame(b *testing.B, path string) (took, tookCPU time.Duration) {
	b.Helper()
	ctx := context.Background()
	from, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	tables := []string{"reports", "bodies", "events"}
	rows := map[string][][]any{}
	for _, table := range tables {
		rows[table] = readTable(b, from, table)
	}
	empty := newPath(b)
	if err := open(b, empty, quiet).Close(); err != nil {
		b.Fatal(err)
	}
	to, err := sqlite.Open(ctx, empty, sqlite.Config{Synchronous: "NORMAL"})
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	start, startCPU := time.Now(), streamtest.ProcessorTime(b)
	for first := 0; first < len(rows["events"]); first += 500 {
		if err := to.Update(ctx, func(tx *sqlx.Tx) error {
			return insertSome(tx, tables, rows, first, min(first+500, len(rows["events"])))
		}); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start), streamtest.ProcessorTime(b) - startCPU
}

// readTable returns the rows of a table.
func readTable(b *testing.B, db *sqlite.DB, table string) (all [][]any) {
	b.Helper()
	rows, err := db.Reader.Queryx("select * from " + table) //nolint:sqlclosecheck // it does not see that sqlx rows are closed
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := rows.SliceScan()
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return all
}

// insertSome inserts the rows from one index up to another into each table.
func insertSome(tx *sqlx.Tx, tables []string, rows map[string][][]any, from, to int) error {
	var statements []*sqlx.Stmt
	for _, table := range tables {
		s, err := tx.Preparex("insert into " + table + " values (?" + strings.Repeat(", ?", len(rows[table][0])-1) + ")") //nolint:sqlclosecheck // it does not see that sqlx statements are closed
		if err != nil {
			return err
		}
		defer s.Close()
		statements = append(statements, s)
	}
	for i := from; i < to; i++ {
		for t, table := range tables {
			if _, err := statements[t].Exec(rows[table][i]...); err != nil {
				return err
			}
		}
	}
	return nil
}

// BenchmarkSearch reads pages of 50 from a study of 20,000 reports.
func BenchmarkSearch(b *testing.B) {
	reports := manyReports()
	broker := newBroker(b)
	brokertest.PublishBatches(b, broker.writer, large(&study{number: "S1"}, reports))
	m := open(b, newPath(b), readmodel.Config{Readers: 16, Log: quiet.Log})
	stop := follow(b, m, broker.reader)
	reaches(b, m, uint64(reports))
	stop()
	second := events.Period{From: epoch.Add(time.Hour), Until: epoch.Add(time.Hour + time.Second)}
	where := func(c readmodel.Column, w readmodel.Comparison) []readmodel.Condition {
		return []readmodel.Condition{{Column: c, Any: []readmodel.Comparison{w}}}
	}
	for _, c := range []struct {
		name string
		q    readmodel.Query
	}{
		{"first", readmodel.Query{}},
		{"middle", readmodel.Query{Offset: reports / 2}},
		{"last", readmodel.Query{Offset: reports - 50}},
		{"newest", readmodel.Query{Sort: []readmodel.Order{{Column: readmodel.ColumnLastUpdated, Descending: true}}}},
		{"since", readmodel.Query{Where: where(readmodel.ColumnLastUpdated, readmodel.Comparison{Op: readmodel.Gt, Period: second})}},
		{"subject", readmodel.Query{Where: where(readmodel.ColumnSubject, readmodel.Comparison{Text: "SUBJECT-0500"})}},
		{"conclusion", readmodel.Query{Where: where(readmodel.ColumnConclusion, readmodel.Comparison{Text: "Partial Response"})}},
		{"by date", readmodel.Query{Sort: []readmodel.Order{{Column: readmodel.ColumnDate}}}},
	} {
		c.q.Study, c.q.Limit = "S1", 50
		b.Run(c.name, func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := m.Search(context.Background(), c.q); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkVisible measures from publishing one event until it is applied,
// and compares with the broker's acknowledgement of the same event.
func BenchmarkVisible(b *testing.B) {
	broker := newBroker(b)
	m := open(b, newPath(b), quiet)
	follow(b, m, broker.reader)
	s := &study{number: "S1"}
	sequence := uint64(0)
	var acknowledged, visible time.Duration
	for b.Loop() {
		b.StopTimer()
		e := s.signed(fmt.Sprint(sequence))
		b.StartTimer()
		sequence++
		start := time.Now()
		broker.publish(e)
		acknowledged += time.Since(start)
		reaches(b, m, sequence)
		visible += time.Since(start)
	}
	b.ReportMetric(float64(acknowledged.Microseconds())/float64(b.N), "µs-ack")
	b.ReportMetric(float64(visible.Microseconds())/float64(b.N), "µs-visible")
	b.ReportMetric(float64(visible)/float64(acknowledged), "ratio")
}
