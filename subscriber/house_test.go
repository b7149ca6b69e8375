package subscriber_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// house is the publisher as partners meet it: server, doors, token endpoint.
// It keeps the directory, which is otherwise read from the log.
type house struct {
	t        *testing.T
	js       jetstream.JetStream
	endpoint *httptest.Server
	url      string

	mu        sync.Mutex
	directory access.Directory
	changed   chan struct{}
	issued    chan string // the tokens
	stop      func()      // the doors
	signer    *access.Signer
}

func newHouse(t *testing.T, issuedAt func() time.Time) *house {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	h := &house{t: t, changed: make(chan struct{}, 1), issued: make(chan string, 1000)}
	private, err := access.NewKey()
	h.ok(err)
	h.signer, err = access.NewSigner(private)
	h.ok(err)
	h.directory = access.Directory{}.WithKey(h.signer.Key(time.Now().Add(-24 * time.Hour)))
	h.endpoint = httptest.NewServer(token.New(h, h, token.Config{Clock: issuedAt}))
	t.Cleanup(h.endpoint.Close)

	seed, err := callout.NewIssuer()
	h.ok(err)
	public, err := callout.IssuerKey(seed)
	h.ok(err)
	server, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", LoginIssuer: public, Log: quiet})
	h.ok(err)
	t.Cleanup(server.Shutdown)
	h.url = server.ClientURL()
	connect := func(role natsd.Role) *nats.Conn {
		nc, err := server.Connect(role)
		h.ok(err)
		t.Cleanup(nc.Close)
		return nc
	}
	h.js, err = jetstream.New(connect(natsd.Publisher))
	h.ok(err)
	_, err = publisher.EnsureStream(t.Context(), h.js, publisher.StreamConfig{})
	h.ok(err)
	service := connect(natsd.Partners)
	logins, err := callout.New(service, h, seed, callout.Config{Log: quiet})
	h.ok(err)
	enforcer := callout.NewEnforcer(service, server, logins)
	d, err := partners.New(service, server, h, h, logins, enforcer, partners.Config{Log: quiet, Interval: 50 * time.Millisecond})
	h.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return d.Run(ctx) })
	running.Go(func() error { return enforcer.Run(ctx, d.EndRequests) })
	h.stop = sync.OnceFunc(func() { cancel(); h.ok(running.Wait()) })
	t.Cleanup(h.stop)
	return h
}

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// The house as the doors' log.

func (h *house) Directory() access.Directory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.directory
}
func (h *house) Changed() <-chan struct{}              { return h.changed }
func (h *house) WaitFor(context.Context, uint64) error { return nil }

// The house as keeper of receipts.

func (h *house) NoteReceipts(context.Context, []events.Receipt) error        { return nil }
func (h *house) Receipts(context.Context) (list []events.Receipt, err error) { return list, nil }

// The house as what the token endpoint needs.

func (h *house) AuthenticateClient(_ context.Context, id, given, _ string) (access.Partner, error) {
	p, _ := h.Directory().Partner(id)
	if !p.Opens(given, time.Now()) {
		return access.Partner{}, events.Errorf(events.Unauthenticated, "unknown client or wrong secret")
	}
	return p, nil
}

func (h *house) Issue(id, issuer, partner, given string, now time.Time) (string, error) {
	signed, err := h.signer.Issue(id, issuer, partner, given, now)
	h.issued <- signed
	return signed, err
}

// set puts the partner into the directory with these studies.
func (h *house) set(enabled bool, studies ...string) {
	h.mu.Lock()
	h.directory = h.directory.WithPartner(access.Partner{
		ID: acme, Studies: studies, Enabled: enabled, Secrets: []access.Secret{{SHA256: access.DigestSecret(secret)}},
	})
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *house) publish(list ...events.Event) {
	h.t.Helper()
	for _, e := range list {
		msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
		_, err := h.js.PublishMsg(h.t.Context(), msg)
		h.ok(err)
	}
}

func (h *house) credentials() subscriber.Credentials {
	return subscriber.Credentials{TokenURL: h.endpoint.URL, ClientID: acme, Secret: subscriber.Secret(secret)}
}

func (h *house) dial(cfg subscriber.PartnerConfig) *subscriber.Partner {
	h.t.Helper()
	if cfg.Outage == nil {
		cfg.Outage = func(error) {}
	}
	p, err := subscriber.Dial(h.t.Context(), h.credentials(), h.url, cfg)
	h.ok(err)
	h.t.Cleanup(p.Close)
	return p
}

func TestAPartnerInTheHouse(t *testing.T) {
	t.Run("reads what is granted, from the first event on, until it is revoked", func(t *testing.T) {
		h := newHouse(t, nil)
		one, two := (&study{token: "S1"}).take(300), (&study{token: "S2"}).take(300)
		h.publish(one[:100]...)
		h.publish(two[:100]...)
		h.set(true, "S1")
		p, r := h.dial(subscriber.PartnerConfig{Patience: impatient}), newReader()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 100)

		h.set(true, "S1", "S2")
		patient := h.dial(subscriber.PartnerConfig{})
		_, revoked := follow(t, patient, "S2", r)
		r.wait(t, "S2", 100)
		h.publish(one[100:200]...)
		h.publish(two[100:200]...)
		r.wait(t, "S1", 200)
		r.wait(t, "S2", 200)
		_, again := follow(t, p, "S2", r) // a second reader of the study, which has nothing to do
		h.set(true, "S1")
		if err := ended(t, again); !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Forbidden) {
			t.Errorf("Follow of what was revoked ended with %v", err)
		}
		h.publish(two[200:]...)
		h.publish(one[200:]...)
		r.wait(t, "S1", 300)
		h.ok(stop())
		r.holds(t, "S1", one)
		r.holds(t, "S2", two[:200])

		h.set(false)
		if err := ended(t, revoked); !errors.Is(err, subscriber.ErrAccessEnded) {
			t.Errorf("Follow of a removed partner ended with %v", err)
		}
	})

	t.Run("reads as many studies over a connection as it has room for", func(t *testing.T) {
		const room = 60
		h := newHouse(t, nil)
		var all []string
		for i := range room + 1 {
			all = append(all, fmt.Sprint("S", i))
		}
		h.set(true, all...)
		for _, name := range all {
			h.publish((&study{token: name}).next())
		}
		p, r := h.dial(subscriber.PartnerConfig{}), newReader()
		var stop func() error
		for _, name := range all[:room] {
			stop, _ = follow(t, p, name, r)
		}
		for _, name := range all[:room] {
			r.wait(t, name, 1)
		}
		if err := p.Follow(t.Context(), all[room], r); !errors.Is(err, events.Conflict) {
			t.Errorf("one study more gave %v", err)
		}
		h.ok(stop())
		follow(t, p, all[room], r)
		r.wait(t, all[room], 1)
	})

	t.Run("learns that nobody answers logins, which is no end of access", func(t *testing.T) {
		h := newHouse(t, nil)
		h.set(true, "S1")
		h.stop()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told error
		_, err := subscriber.Dial(ctx, h.credentials(), h.url, subscriber.PartnerConfig{
			Outage: func(err error) { told = err; cancel() },
		})
		if err == nil || errors.Is(err, subscriber.ErrAccessEnded) {
			t.Errorf("Dial gave %v", err)
		}
		if told == nil || !strings.Contains(told.Error(), "nobody answers logins") {
			t.Errorf("told %v", told)
		}
	})

	t.Run("goes on when its token expires", func(t *testing.T) {
		const life = 2 * time.Second
		h := newHouse(t, func() time.Time { return time.Now().Add(life - access.Lifetime) })
		h.set(true, "S1")
		want := (&study{token: "S1"}).take(30)
		p, r := h.dial(subscriber.PartnerConfig{}), newReader()
		stop, _ := follow(t, p, "S1", r)
		for n := 10; n <= 30; n += 10 {
			h.publish(want[n-10 : n]...)
			r.wait(t, "S1", n)
			for len(h.issued) > 0 {
				<-h.issued // those used until now
			}
			<-h.issued // the next
		}
		h.ok(stop())
		r.holds(t, "S1", want)
	})
}
