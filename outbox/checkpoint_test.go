package outbox_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
)

// warned is a log's writer that receives a value for each line about the checkpoint.
type warned chan struct{}

func (w warned) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("cannot checkpoint the outbox")) {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

func TestRunOutlivesACheckpointThatFails(t *testing.T) {
	d := newOutbox(t)
	ok(t, d.Close())
	failed := make(warned, 1)
	o := open(t, d.path, outbox.Config{Clock: d.clock.now, Log: slog.New(slog.NewTextHandler(failed, nil))})
	// Run watches with the connection that this opens. Its check of the audit trail also
	// needs one, and may come first.
	must(o.DB().Version(t.Context()))(t)
	// A folder in the file's place: what is open goes on, a new connection fails.
	away := d.path + ".away"
	ok(t, os.Rename(d.path, away))
	ok(t, os.Mkdir(d.path, 0o700))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	select {
	case <-failed:
	case err := <-ended:
		t.Fatalf("Run ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("no checkpoint failed")
	}
	ok(t, os.Remove(d.path))
	ok(t, os.Rename(away, d.path))
	ok(t, accountstest.AddPI(t.Context(), o.Accounts(), operator, "dr.new", "Printed New", []string{study}, password))
	for deadline := time.Now().Add(time.Minute); !bytes.Contains(must(os.ReadFile(d.path))(t), []byte("Printed New")); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log never reached the database")
		}
	}
	cancel()
	ok(t, <-ended)
}
