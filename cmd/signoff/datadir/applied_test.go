package datadir

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// AwaitAccess may end while it compares an answer of the server with the outbox. What is
// known from the answer before must not be lost: a withdrawal that is in force would be
// printed as one that is not.
func TestTheLastAnswerStandsWhenTheTimeEndsDuringTheNext(t *testing.T) {
	dir := Dir(t.TempDir())
	o, err := outbox.Open(t.Context(), dir.Outbox(), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if _, err := o.Accounts().AddPartner(t.Context(), "operator", "acme", "", []string{"S1"}); err != nil {
		t.Fatal(err)
	}
	head, err := o.ChainHead(t.Context(), events.AccessStudy)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var asked, closed atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		recorded := AccessEvent{Number: head.Number, Hash: head.Hash}
		if err := json.NewEncoder(w).Encode(Access{Recorded: recorded, Applied: recorded}); err != nil {
			t.Error(err)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed && closed.Add(1) == 2 {
			end() // after the second answer
		}
	}
	server.Start()
	defer server.Close()
	unlock, err := dir.Lock("serve")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := dir.WriteServeFile(Serving{OpsURL: server.URL}); err != nil {
		t.Fatal(err)
	}

	before := AppliedTimeout
	defer func() { AppliedTimeout = before }()
	AppliedTimeout = time.Minute // the end of ctx comes first
	var readers sync.WaitGroup
	defer readers.Wait()
	var once sync.Once
	p, err := AwaitAccess(ctx, dir, o, func(Progress) bool {
		once.Do(func() { occupy(ctx, t, o, &readers) })
		return false
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if asked.Load() != 2 || !p.Refused || !p.Applied || p.Failure != nil {
		t.Errorf("after %d answers %+v", asked.Load(), p)
	}
}

// occupy has reads of the audit trail use all connections that read the outbox, until ctx
// ends. One of them may be the outbox's own.
func occupy(ctx context.Context, t *testing.T, o *outbox.Outbox, readers *sync.WaitGroup) {
	t.Helper()
	const connections = 4
	reading := make(chan struct{})
	for range 2 * connections {
		readers.Go(func() {
			_ = o.Audit(ctx, outbox.AuditFilter{}, func(outbox.AuditEntry) error {
				select {
				case reading <- struct{}{}:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return ctx.Err()
			})
		})
	}
	for range connections {
		<-reading
	}
}
