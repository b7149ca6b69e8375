package browsertest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

const partner = "acme"

// program is the whole program, with a PI and a partner who may read the PI's study.
type program struct {
	t      *testing.T
	server *server.Server
	desk   string // origin
	ops    string // origin of the operator's page
	secret string // of the partner
}

// startProgram runs the program until the test ends. Before that it prepares the outbox.
func startProgram(t *testing.T, prepare ...func(*outbox.Outbox)) *program {
	t.Helper()
	dir := t.TempDir()
	for _, f := range prepare {
		o, err := outbox.Open(t.Context(), datadir.Dir(dir).Outbox(), outbox.Config{})
		desktest.OK(t, err)
		f(o)
		desktest.OK(t, o.Close())
	}
	p, err := server.Open(t.Context(), datadir.Dir(dir), server.Settings{
		Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", DeskListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0",
		BasePath: api.DefaultBasePath, MaxCount: server.DefaultMaxCount,
	}, slog.New(slog.DiscardHandler))
	desktest.OK(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan datadir.Serving, 1), make(chan error, 1)
	go func() { done <- p.Run(ctx, func(s datadir.Serving) { ready <- s }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	in := &program{t: t, server: p}
	select {
	case s := <-ready:
		in.desk, in.ops = s.DeskURL, "http://"+s.Ops
	case err := <-done:
		done <- err
		t.Fatal("the program ended before it was ready")
	case <-time.After(2 * time.Minute):
		t.Fatal("the program was not ready after two minutes")
	}
	if len(prepare) == 0 {
		addPI(t, p.Outbox.Accounts())
	}
	in.secret, err = p.Outbox.Accounts().AddPartner(ctx, "ops", partner, "Acme Therapeutics", []string{desktest.Study})
	desktest.OK(t, err)
	return in
}

func addPI(t *testing.T, a *accounts.Accounts) {
	t.Helper()
	desktest.OK(t, accountstest.AddPI(t.Context(), a, "ops", desktest.User, desktest.Name, []string{desktest.Study}, desktest.Password))
}

// register registers assessments, which then wait.
func (in *program) register(assessments ...events.Assessment) {
	in.t.Helper()
	register(in.t, in.server.Outbox, assessments...)
}

func register(t *testing.T, o *outbox.Outbox, assessments ...events.Assessment) {
	t.Helper()
	batch := make([]events.Submission, len(assessments))
	for i, a := range assessments {
		batch[i].Assessment = a
	}
	results, err := o.Register(t.Context(), "tumor-db", batch)
	desktest.OK(t, err)
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// sign signs what waits of these assessments.
func (in *program) sign(assessments ...events.Assessment) {
	in.t.Helper()
	var ids []string
	for _, a := range assessments {
		ids = append(ids, a.ID)
	}
	_, err := in.server.Outbox.SignOff(in.t.Context(), outbox.SignOff{User: desktest.User, Meaning: desktest.Meaning, IDs: ids})
	desktest.OK(in.t, err)
}

// acknowledged reports whether the partner has acknowledged all signed visits of a case.
func (in *program) acknowledged(number int32) bool {
	in.t.Helper()
	c, err := in.server.Outbox.Reviews().Case(in.t.Context(), desktest.Study, number)
	desktest.OK(in.t, err)
	receipts, err := in.server.Outbox.Receipts().Receipts(in.t.Context())
	desktest.OK(in.t, err)
	for _, v := range c.Visits {
		if v.Signed != nil && !slices.ContainsFunc(receipts, func(r events.Receipt) bool {
			at := v.Signed.Publication.StreamSequence
			return r.Study == c.StudyKey && at > 0 && r.Acknowledged >= at
		}) {
			return false
		}
	}
	return true
}

// follow reads the study as the partner until the test ends, and acknowledges what it has
// read.
func (in *program) follow() {
	in.t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(in.t.Context()))
	credentials := subscriber.Credentials{
		TokenURL: in.server.PublicURL() + token.Path, ClientID: partner, Secret: func() (string, error) { return in.secret, nil },
	}
	connection, err := subscriber.Dial(ctx, credentials, in.server.NATS.ClientURL(), subscriber.PartnerConfig{Outage: func(error) {}})
	if err != nil {
		stop()
		in.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- connection.Follow(ctx, desktest.Study, &reader{}) }()
	in.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			in.t.Errorf("the partner's subscription ended with %v", err)
		}
		connection.Close()
	})
}

// reader remembers how far it has come.
type reader struct {
	mu sync.Mutex
	at subscriber.Bookmark
}

func (r *reader) Resume(context.Context, string) (subscriber.Bookmark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, nil
}

func (r *reader) Handle(_ context.Context, d subscriber.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = d.Bookmark
	return nil
}
