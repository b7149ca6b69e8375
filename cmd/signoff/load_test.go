package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// The events of the load: two of each report.
const (
	loadEvents = 10_000
	loadBatch  = 500 // reports signed at a time
	withdrawn  = "KILL-0"
	kept       = "KILL-1"
)

// reading keeps the numbers of a study's events in the order in which they
// came.
type reading struct {
	mu      sync.Mutex
	at      subscriber.Bookmark
	numbers []uint64
	news    chan struct{}
}

func newReading() *reading { return &reading{news: make(chan struct{}, 1)} }

func (r *reading) Resume(context.Context, string) (subscriber.Bookmark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, nil
}

func (r *reading) Handle(_ context.Context, d subscriber.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.numbers = d.Bookmark, append(r.numbers, d.Bookmark.Number)
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

func (r *reading) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.numbers)
}

// await waits for n events.
func (r *reading) await(n int) error {
	for r.count() < n {
		select {
		case <-r.news:
		case <-time.After(patience):
			return fmt.Errorf("%d of %d events, and none for %s", r.count(), n, patience)
		}
	}
	return nil
}

// complete wants each event up to n, once and in order.
func (r *reading) complete(t *testing.T, who string, n int) {
	t.Helper()
	for i, number := range r.numbers {
		if number != uint64(i)+1 {
			t.Fatalf("%s: event %d came as the %d.", who, number, i+1)
		}
	}
	if len(r.numbers) != n {
		t.Errorf("%s has %d events of %d", who, len(r.numbers), n)
	}
}

// unboundedReader reads a study's events as fast as it can, from the consumer and from the
// live subjects. It reconnects whenever it is disconnected. It records the last event and
// when that came.
type unboundedReader struct {
	mu      sync.Mutex
	last    time.Time
	highest int // number in the study
	n       int
}

func (g *unboundedReader) note(m *nats.Msg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number, _ := strconv.Atoi(m.Header.Get("ce-sequence"))
	g.last, g.highest = time.Now(), max(g.highest, number)
	g.n++
}

// reads returns an error unless an event has come.
func (g *unboundedReader) reads() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		return errors.New("none has come")
	}
	return nil
}

// run goes on until ctx ends.
func (g *unboundedReader) run(ctx context.Context, p *server.Server, id, secret, study string) error {
	nc, err := nats.Connect(p.NATS.ClientURL(), nats.UserInfo(id, secret), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.IgnoreAuthErrorAbort(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return err
	}
	defer nc.Close()
	studyToken := events.StudyKey(study)
	if _, err := nc.Subscribe(events.StudySubjects(studyToken), g.note); err != nil {
		return err
	}
	inbox := nc.NewInbox()
	slots := make(chan struct{}, 1)
	if _, err := nc.Subscribe(inbox, func(m *nats.Msg) {
		if m.Header.Get("Status") == "" {
			g.note(m)
			_ = m.Ack() // the connection may be closed
		}
		select {
		case slots <- struct{}{}:
		default:
		}
	}); err != nil {
		return err
	}
	next := "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF." + events.PartnerConsumer(id, studyToken)
	for ctx.Err() == nil {
		_ = nc.PublishRequest(next, inbox, []byte(`{"batch":100,"expires":1000000000}`)) // the same
		select {
		case <-slots:
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // refused without a word to the inbox
		}
	}
	return nil
}

// produce signs reports of both studies in turn. Before the last it waits.
func produce(ctx context.Context, p *server.Server, wait <-chan struct{}) error {
	for from := 0; from < loadEvents/2; from += loadBatch {
		if from == loadEvents/2-loadBatch {
			select {
			case <-wait:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		batch := make([]events.Submission, loadBatch)
		ids := make([]string, loadBatch)
		for i := range batch {
			a := killAssessment(fmt.Sprint("load-", from+i), i%2, (from+i)/2)
			batch[i], ids[i] = events.Submission{Assessment: a}, a.ID
		}
		results, err := p.Outbox.Register(ctx, "test", batch)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
		if _, err := p.Outbox.SignOff(ctx, outbox.SignOff{User: "pi", Meaning: "approved", IDs: ids}); err != nil {
			return err
		}
	}
	return nil
}

func TestAWithdrawalUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	if err := accountstest.AddPI(t.Context(), p.Outbox.Accounts(), "test", "pi", "P. Investigator", []string{withdrawn, kept}, testPassword); err != nil {
		t.Fatal(err)
	}
	secrets, readings := make(map[string]string), make(map[string]*reading)
	for _, id := range []string{"acme", "globex", "initech"} {
		_, secrets[id] = newPartnerWithSecret(t, p, id, withdrawn, kept)
		readings[id+" "+kept] = newReading()
	}
	for _, id := range []string{"globex", "initech"} {
		readings[id+" "+withdrawn] = newReading()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all errgroup.Group
	var taker unboundedReader
	all.Go(func() error { return taker.run(ctx, p, "acme", secrets["acme"], withdrawn) })
	for _, id := range []string{"acme", "globex", "initech"} {
		awaitConsumer(t, p.NATS.ClientURL(), id, secrets[id], withdrawn)
		awaitConsumer(t, p.NATS.ClientURL(), id, secrets[id], kept)
		c := subscriber.Credentials{TokenURL: p.PublicURL() + token.Path, ClientID: id, Secret: subscriber.Secret(secrets[id])}
		partner, err := subscriber.Dial(ctx, c, p.NATS.ClientURL(), subscriber.PartnerConfig{Outage: func(error) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer partner.Close()
		for _, study := range []string{withdrawn, kept} {
			if r := readings[id+" "+study]; r != nil {
				all.Go(func() error { return partner.Follow(ctx, study, r) })
			}
		}
	}
	last := make(chan struct{}) // is signed behind the withdrawal
	all.Go(func() error { return produce(ctx, p, last) })

	if err := readings["globex "+withdrawn].await(loadEvents / 4); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an event of the study that is withdrawn", taker.reads)
	mustSignoff(t, "partner", "revoke", "acme", withdrawn, "--data", dir)
	answered := time.Now()
	eventually(t, "the withdrawal is complete", func() error {
		if _, metrics := operations(t, p, "/metrics"); !bytes.Contains(metrics, []byte("signoff_partners_withdrawal_seconds_count 1\n")) {
			return errors.New("not yet")
		}
		return nil
	})
	complete := time.Since(answered)
	head, err := p.Outbox.ChainHead(t.Context(), events.StudyKey(withdrawn))
	if err != nil {
		t.Fatal(err)
	}
	close(last)
	for _, r := range readings {
		if err := r.await(loadEvents / 2); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := all.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for who, r := range readings {
		r.complete(t, who, loadEvents/2)
	}
	if taker.n == 0 || taker.highest > int(head.Number) || head.Number == loadEvents/2 {
		t.Errorf("%d events of the withdrawn study came, up to number %d; %d were signed when the withdrawal was complete", taker.n, taker.highest, head.Number)
	}
	t.Logf("%d events of the withdrawn study came, the last %s after the withdrawal was answered, which was complete after %s", taker.n, taker.last.Sub(answered), complete)
}
