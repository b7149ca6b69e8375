package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// partnerReceipts note when each report came to a partner.
type partnerReceipts struct {
	mu   sync.Mutex
	mark subscriber.Bookmark
	at   map[string]time.Time
	news chan struct{}
}

func (r *partnerReceipts) Resume(context.Context, string) (subscriber.Bookmark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mark, nil
}

func (r *partnerReceipts) Handle(_ context.Context, d subscriber.Delivery) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mark = d.Bookmark
	if parts := strings.Split(d.Event.Subject(), "/"); parts[0] == "DiagnosticReport" {
		r.at[parts[1]] = now
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

func (r *partnerReceipts) await(b *testing.B, n int) map[string]time.Time {
	b.Helper()
	for {
		r.mu.Lock()
		if len(r.at) >= n {
			defer r.mu.Unlock()
			return maps.Clone(r.at)
		}
		r.mu.Unlock()
		select {
		case <-r.news:
		case <-b.Context().Done():
			b.Fatal("not all came to the partner")
		}
	}
}

// flood is a partner that sends requests as fast as it can, permitted ones and others, on as
// many connections as it gets. It opens further connections all the time, with its secret
// and with wrong ones, and never acknowledges anything.
type flood struct {
	url, id, secret, study string
	requests, logins       atomic.Int64
}

func (f *flood) run(ctx context.Context) {
	var all errgroup.Group
	for range tenancy.DefaultLimits().Connections / 2 {
		all.Go(func() error { f.ask(ctx); return nil })
	}
	for i := range 4 {
		all.Go(func() error { f.tryLogin(ctx, i%2 == 0); return nil })
	}
	_ = all.Wait() // they return none
}

func (f *flood) dial(secret string) (*nats.Conn, error) {
	return nats.Connect(f.url, nats.UserInfo(f.id, secret), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// ask sends requests of all kinds, again on a new connection when it is thrown
// out.
func (f *flood) ask(ctx context.Context) {
	consumer := events.PartnerConsumer(f.id, events.StudyKey(f.study))
	next, info := "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF."+consumer, "js.signoff.CONSUMER.INFO.SIGNOFF."+consumer
	for ctx.Err() == nil {
		nc, err := f.dial(f.secret)
		if err != nil {
			continue
		}
		_, err = nc.Subscribe("_INBOX.flood", func(*nats.Msg) {})
		for ; err == nil && ctx.Err() == nil; err = nc.Flush() {
			for range 50 {
				_ = nc.PublishRequest(next, "_INBOX.flood", []byte(`{"batch":100000,"expires":60000000000}`))
				_ = nc.PublishRequest(info, "_INBOX.flood", nil)
				_ = nc.PublishRequest("$JS.ACK.SIGNOFF."+consumer+".1.1.1.1.1", "_INBOX.flood", []byte("-NAK"))
				_ = nc.PublishRequest("$JS.API.STREAM.DELETE.SIGNOFF", "_INBOX.flood", nil)
			}
			f.requests.Add(200)
		}
		nc.Close()
	}
}

// tryLogin opens connections and closes them.
func (f *flood) tryLogin(ctx context.Context, wrong bool) {
	secret := f.secret
	if wrong {
		secret = "wrong"
	}
	for ctx.Err() == nil {
		if nc, err := f.dial(secret); err == nil {
			nc.Close()
		}
		f.logins.Add(1)
	}
}

// BenchmarkFlood measures at 100 sign-offs a second how long after the commit
// the service has the report in its read stream, and another partner in its
// callback: first while the broker is idle, then, in the same run, while a partner floods the
// broker from within the same process and so from the same processors.
func BenchmarkFlood(b *testing.B) {
	p, _ := startServer(b, b.TempDir())
	addBenchPI(b, p)
	study := killStudy(0)
	secrets := make(map[string]string)
	for _, id := range []string{"honest", "flooder"} {
		var err error
		if secrets[id], err = p.Outbox.Accounts().AddPartner(b.Context(), "bench", id, "", []string{study}); err != nil {
			b.Fatal(err)
		}
	}
	service := newArrivals()
	defer service.follow(b, p)()
	partner := &partnerReceipts{at: make(map[string]time.Time), news: make(chan struct{}, 1)}
	defer partner.follow(b, p, secrets["honest"], study)()

	committed := make(map[string]time.Time)
	phase := func(name string) (relay, reader []time.Duration) {
		own := make(map[string]time.Time, b.N)
		for i := range b.N {
			id := fmt.Sprintf("%s-%d", name, i)
			own[id] = signPaced(b, p, id, len(committed)+i)
		}
		for id, at := range own {
			committed[id] = at
		}
		return latencies(own, service.await(b, len(committed))), latencies(own, partner.await(b, len(committed)))
	}
	idleRelay, idleReader := phase("idle")

	f := &flood{url: p.NATS.ClientURL(), id: "flooder", secret: secrets["flooder"], study: study}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	start := time.Now()
	floodRelay, floodReader := phase("flood")
	took := time.Since(start).Seconds()
	cancel()
	running.Wait()

	b.ReportMetric(float64(f.requests.Load())/took, "flood-requests/s")
	b.ReportMetric(float64(f.logins.Load())/took, "flood-logins/s")
	compare(b, "relay", idleRelay, floodRelay)
	compare(b, "partner", idleReader, floodReader)
}

// signPaced has a report signed, at its turn, and returns when it was committed.
func signPaced(b *testing.B, p *server.Server, id string, i int) time.Time {
	b.Helper()
	turn := time.Now().Add(latencyPace)
	a := killAssessment(id, 0, i)
	if results, err := p.Outbox.Register(b.Context(), "bench", []events.Submission{{Assessment: a}}); err != nil || results[0].Err != nil {
		b.Fatal(err, results)
	}
	<-time.After(time.Until(turn))
	if _, err := p.Outbox.SignOff(b.Context(), outbox.SignOff{User: "pi", Meaning: "approved", IDs: []string{id}}); err != nil {
		b.Fatal(err)
	}
	return time.Now()
}

// follow reads as a partner until the result is called.
func (r *partnerReceipts) follow(b *testing.B, p *server.Server, secret, study string) (stop func()) {
	b.Helper()
	c := subscriber.Credentials{TokenURL: p.PublicURL() + token.Path, ClientID: "honest", Secret: subscriber.Secret(secret)}
	partner, err := subscriber.Dial(b.Context(), c, p.NATS.ClientURL(), subscriber.PartnerConfig{Outage: func(error) {}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- partner.Follow(ctx, study, r) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		partner.Close()
	}
}

func compare(b *testing.B, who string, idle, flooded []time.Duration) {
	b.Helper()
	for _, percent := range []int{50, 99} {
		name := fmt.Sprintf("%s-p%d", who, percent)
		before, after := quantile(idle, percent), quantile(flooded, percent)
		b.ReportMetric(milliseconds(before), name+"-ms")
		b.ReportMetric(milliseconds(after), name+"-flooded-ms")
		b.ReportMetric(float64(after)/float64(before), name+"-ratio")
	}
}
