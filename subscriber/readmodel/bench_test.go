package readmodel_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

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

// publishBatches stores events as the relay does when it is behind.
func (b *broker) publishBatches(list []events.Event) {
	b.t.Helper()
	for len(list) > 0 {
		n := min(500, len(list))
		batch, err := jetstreamext.NewBatchPublisher(b.writer)
		if err != nil {
			b.t.Fatal(err)
		}
		for i, e := range list[:n] {
			msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
			if i < n-1 {
				err = batch.AddMsg(msg)
			} else {
				_, err = batch.CommitMsg(context.Background(), msg)
			}
			if err != nil {
				b.t.Fatal(err)
			}
		}
		list = list[n:]
	}
}

// BenchmarkApply applies a backlog, and compares that with inserting the rows
// it leads to, prepared, 500 per transaction, and with applying it through a
// consumer, which the reader may not create.
func BenchmarkApply(b *testing.B) {
	const backlog = 20_000
	broker := newBroker(b)
	list := large(&study{number: "S1"}, backlog)
	broker.publishBatches(list)
	b.ReportMetric(float64(len(list[0].Data)), "B/report")
	for b.Loop() {
		path := newPath(b)
		m := open(b, path, quiet)
		begun, start := processorTime(b), time.Now()
		stop := follow(b, m, broker.reader)
		reaches(b, m, backlog)
		applying, processor := time.Since(start), processorTime(b)-begun
		stop()
		inserting := insertRows(b, path)
		begun = processorTime(b)
		consumed := applyConsumed(b, broker.writer, backlog)
		b.ReportMetric((processorTime(b)-begun).Seconds()/processor.Seconds(), "consumer-processor-ratio")
		b.ReportMetric(backlog/applying.Seconds(), "events/s")
		b.ReportMetric(backlog/inserting.Seconds(), "bare-rows/s")
		b.ReportMetric(inserting.Seconds()/applying.Seconds(), "ratio")
		b.ReportMetric(backlog/consumed.Seconds(), "consumer-events/s")
		b.ReportMetric(consumed.Seconds()/applying.Seconds(), "consumer-ratio")
	}
}

// processorTime returns how long the process has used processors. Unlike the time that
// passes, it does not depend on what else the machine does.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// applyConsumed returns how long a new model takes to apply n events that a consumer
// delivers, with the checks of a stream.Reader.
func applyConsumed(b *testing.B, js jetstream.JetStream, n int) time.Duration {
	b.Helper()
	m := open(b, newPath(b), quiet)
	start := time.Now()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	consumer, err := js.CreateConsumer(ctx, events.Stream, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		b.Fatal(err)
	}
	from, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(500, 32<<20))
	if err != nil {
		b.Fatal(err)
	}
	defer from.Stop()
	received, failed := make(chan stream.Message, 500), make(chan error, 1)
	go func() {
		defer close(received)
		failed <- receiveConsumed(ctx, from, n, received)
	}()
	to := readmodel.Applier(m)
	progress, err := to.Resume(ctx)
	if err != nil {
		b.Fatal(err)
	}
	applied := progress.Position
	for msg := range received {
		batch := stream.Batch{After: applied, Messages: []stream.Message{msg}}
		for range len(received) {
			batch.Messages = append(batch.Messages, <-received)
		}
		last := batch.Messages[len(batch.Messages)-1]
		applied = stream.Position{Created: start, StreamSequence: last.StreamSequence, ID: last.Event.ID, Hash: last.Event.Hash}
		batch.Position = applied
		if err := to.Apply(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// receiveConsumed sends n messages of a consumer, checked.
func receiveConsumed(ctx context.Context, from jetstream.MessagesContext, n int, to chan<- stream.Message) error {
	heads := make(map[string]events.ChainHead)
	for range n {
		msg, err := from.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		e, err := events.FromHeader(msg.Headers(), msg.Data())
		if err != nil {
			return err
		}
		if heads[e.Study], err = heads[e.Study].Follow(e); err != nil {
			return err
		}
		to <- stream.Message{StreamSequence: meta.Sequence.Stream, Event: e}
	}
	return nil
}

type reportRow struct {
	Row       int64  `db:"row"`
	Study     int64  `db:"study"`
	IDKey     string `db:"id_key"`
	N         int64  `db:"n"`
	Updated   string `db:"updated"`
	Issued    string `db:"issued"`
	DateFrom  string `db:"date_from"`
	DateUntil string `db:"date_until"`
	CaseID    int64  `db:"case_id"`
	Subject   string `db:"subject"`
	Name      string `db:"name"`
	Conc      string `db:"conclusion"`
	ID        string `db:"id"`
	Body      []byte `db:"body"`
}

// insertRows inserts the reports of one model into an empty one.
func insertRows(b *testing.B, path string) time.Duration {
	b.Helper()
	ctx := context.Background()
	from, err := sqlite.Open(ctx, path, sqlite.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	var rows []reportRow
	if err := from.Reader.Unsafe().Select(&rows, "select * from reports join bodies using (row)"); err != nil {
		b.Fatal(err)
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
	start := time.Now()
	for len(rows) > 0 {
		n := min(500, len(rows))
		if err := to.Update(ctx, func(tx *sqlx.Tx) error { return insertSome(tx, rows[:n]) }); err != nil {
			b.Fatal(err)
		}
		rows = rows[n:]
	}
	return time.Since(start)
}

func insertSome(tx *sqlx.Tx, rows []reportRow) error {
	report, err := tx.Prepare(`insert into reports (row, study, id_key, n, updated, issued, date_from, date_until, case_id, subject, name, conclusion, id)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer report.Close()
	body, err := tx.Prepare("insert into bodies (row, body) values (?, ?)")
	if err != nil {
		return err
	}
	defer body.Close()
	for _, r := range rows {
		if _, err := report.Exec(r.Row, r.Study, r.IDKey, r.N, r.Updated, r.Issued, r.DateFrom, r.DateUntil, r.CaseID, r.Subject, r.Name, r.Conc, r.ID); err != nil {
			return err
		}
		if _, err := body.Exec(r.Row, r.Body); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkSearch reads pages of 50 from a study of 20,000 reports.
func BenchmarkSearch(b *testing.B) {
	const reports = 20_000
	broker := newBroker(b)
	broker.publishBatches(large(&study{number: "S1"}, reports))
	m := open(b, newPath(b), readmodel.Config{Readers: 16, Log: quiet.Log})
	stop := follow(b, m, broker.reader)
	reaches(b, m, reports)
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
