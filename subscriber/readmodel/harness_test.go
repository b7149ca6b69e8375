package readmodel_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// quiet keeps expected failures out of the output.
var quiet = readmodel.Config{Log: slog.New(slog.DiscardHandler)}

// broker is the real server with the real stream.
type broker struct {
	*brokertest.Broker
	t      testing.TB
	writer jetstream.JetStream
	reader jetstream.JetStream
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{Broker: brokertest.New(t, natsd.Config{Listen: "127.0.0.1:0"}), t: t}
	b.Start()
	b.writer, b.reader = b.JetStream(natsd.Publisher), b.JetStream(natsd.Reader)
	b.ensureStream()
	return b
}

// credentials returns a file of the reader's.
func (b *broker) credentials() string {
	b.t.Helper()
	creds, err := b.Server().Credentials(natsd.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.t.TempDir(), "reader.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func (b *broker) ensureStream() {
	b.t.Helper()
	if _, err := publisher.EnsureStream(context.Background(), b.writer, publisher.StreamConfig{}); err != nil {
		b.t.Fatal(err)
	}
}

// replaceStream deletes the stream and makes an empty one in its place.
func (b *broker) replaceStream() {
	b.t.Helper()
	if err := b.writer.DeleteStream(context.Background(), events.Stream); err != nil {
		b.t.Fatal(err)
	}
	b.ensureStream()
}

// publish stores events in the form in which the relay does.
func (b *broker) publish(list ...events.Event) {
	b.t.Helper()
	futures := make([]jetstream.PubAckFuture, len(list))
	for i, e := range list {
		var err error
		if futures[i], err = b.writer.PublishMsgAsync(brokertest.Message(e), jetstream.WithRetryAttempts(0)); err != nil {
			b.t.Error(err)
			return
		}
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			b.t.Error(err)
			return
		}
	}
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "readmodel.db") }

func open(t testing.TB, path string, cfg readmodel.Config) *readmodel.Model {
	t.Helper()
	m, err := readmodel.Open(context.Background(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// follow runs the model until the test ends or stop is called.
func follow(t testing.TB, m *readmodel.Model, js jetstream.JetStream) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx, js) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// reaches waits until the model has applied the message.
func reaches(t testing.TB, m *readmodel.Model, sequence uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), enough)
	defer cancel()
	if err := m.WaitFor(ctx, sequence); err != nil {
		t.Fatalf("message %d is not applied: %v; %+v", sequence, err, m.Status())
	}
}

// enough is time for anything, on a slow and loaded machine.
const enough = 2 * time.Minute

// arrives waits until the model arrives at a step.
func arrives(t testing.TB, step <-chan struct{}) {
	t.Helper()
	select {
	case <-step:
	case <-time.After(enough):
		t.Fatal("the model does not arrive at the step")
	}
}

// until polls for a condition that no event announces.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(enough); !condition(); {
		if time.Now().After(limit) {
			t.Fatalf("%s did not come true", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// applied opens a model of these events, published to a broker of its own.
func applied(t testing.TB, list []events.Event) *readmodel.Model {
	t.Helper()
	b := newBroker(t)
	b.publish(list...)
	m := open(t, newPath(t), quiet)
	stop := follow(t, m, b.reader)
	reaches(t, m, uint64(len(list)))
	stop()
	return m
}

// dump returns all that is stored, a line for each row.
func dump(t testing.TB, path string) map[string][]string {
	t.Helper()
	db, err := sqlite.Open(context.Background(), path, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	content := map[string][]string{}
	for _, table := range []string{"position", "studies", "reports", "bodies", "access", "events", "bundles", "observations"} {
		content[table] = dumpTable(t, db, table)
	}
	return content
}

func dumpTable(t testing.TB, db *sqlite.DB, table string) (lines []string) {
	t.Helper()
	rows, err := db.Reader.Queryx("select * from " + table + " order by 1") //nolint:sqlclosecheck // it does not see that sqlx rows are closed
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := rows.SliceScan()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%q", row))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
