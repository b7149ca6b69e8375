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
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// installation is the publisher as partners meet it: server, callout, token endpoint.
// It stores the directory, which is otherwise read from the log.
type installation struct {
	t        *testing.T
	js       jetstream.JetStream
	endpoint *httptest.Server
	url      string                    // of the server, or of several with commas between
	accounts func() *operator.Accounts // opens a connection; the caller closes it

	mu        sync.Mutex
	directory access.Directory
	changed   chan struct{}
	issued    chan string // the access tokens
	stop      func()      // ends the callout
	signer    *access.Signer
}

// natsServers are what an installation runs on: the embedded server, or a cluster.
type natsServers interface {
	Connect(natsd.Role, ...nats.Option) (*nats.Conn, error)
	ClientURL() string
}

// newInstallation runs on the embedded server.
func newInstallation(t *testing.T, issuedAt func() time.Time) *installation {
	t.Helper()
	server, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	return newInstallationOn(t, server, server.Accounts, server.Keys(), 1, issuedAt)
}

// newInstallationOn runs on these servers, which hold the stream together.
func newInstallationOn(t *testing.T, servers natsServers, accounts func() *operator.Accounts, keys *operator.Keys, replicas int, issuedAt func() time.Time) *installation {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	inst := &installation{t: t, url: servers.ClientURL(), accounts: accounts, changed: make(chan struct{}, 1), issued: make(chan string, 1000)}
	private, err := access.NewKey()
	inst.ok(err)
	inst.signer, err = access.NewSigner(private)
	inst.ok(err)
	inst.directory = access.Directory{}.WithKey(inst.signer.Key(time.Now().Add(-24 * time.Hour)))
	inst.endpoint = httptest.NewServer(token.New(inst, inst, token.Config{Clock: issuedAt}))
	t.Cleanup(inst.endpoint.Close)

	connect := func(role natsd.Role) *nats.Conn {
		nc, err := servers.Connect(role)
		inst.ok(err)
		t.Cleanup(nc.Close)
		return nc
	}
	inst.js, err = jetstream.New(connect(natsd.Publisher), jetstream.WithDefaultTimeout(enough))
	inst.ok(err)
	inst.poll(func() error { // servers of a cluster enable JetStream for an account after they have found each other
		_, err := publisher.EnsureStream(t.Context(), inst.js, publisher.StreamConfig{Replicas: replicas})
		return err
	})
	service := connect(natsd.Partners)
	opened := accounts()
	t.Cleanup(opened.Close)
	logins := callout.New(connect(natsd.Callout), inst, keys.Answers(), callout.Config{Log: quiet})
	enforcer := callout.NewEnforcer(service, opened, logins)
	reconciler, err := partners.New(service, opened, inst, inst, logins, enforcer, partners.Config{Log: quiet, Interval: 50 * time.Millisecond})
	inst.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return reconciler.Run(ctx) })
	running.Go(func() error { return enforcer.Run(ctx, reconciler.EndRequests) })
	inst.stop = sync.OnceFunc(func() { cancel(); inst.ok(running.Wait()) })
	t.Cleanup(inst.stop)
	return inst
}

func (inst *installation) ok(err error) {
	inst.t.Helper()
	if err != nil {
		inst.t.Fatal(err)
	}
}

// poll calls try until it succeeds.
func (inst *installation) poll(try func() error) {
	inst.t.Helper()
	ctx, cancel := context.WithTimeout(inst.t.Context(), enough)
	defer cancel()
	var last error
	err := retry.Poll(ctx, func() (bool, error) { last = try(); return last == nil, nil })
	if err != nil {
		inst.t.Fatal(last)
	}
}

// The methods of partners.Log and callout.Log.

func (inst *installation) Directory() access.Directory {
	inst.mu.Lock()
	defer inst.mu.Unlock()
	return inst.directory
}
func (*installation) Withheld() error { return nil }

func (inst *installation) Changed() <-chan struct{}              { return inst.changed }
func (inst *installation) WaitFor(context.Context, uint64) error { return nil }

// The methods of partners.Receipts.

func (inst *installation) NoteReceipts(context.Context, []events.Receipt) error { return nil }
func (inst *installation) Receipts(context.Context) (list []events.Receipt, err error) {
	return list, nil
}

// The methods that the token endpoint needs.

func (inst *installation) AuthenticateClient(_ context.Context, id, secret, _ string) (access.Partner, error) {
	p, _ := inst.Directory().Partner(id)
	if !p.Opens(secret, time.Now()) {
		return access.Partner{}, events.Errorf(events.Unauthenticated, "unknown client or wrong secret")
	}
	return p, nil
}

func (inst *installation) Issue(id, issuer, partner, secretID string, now time.Time) (string, error) {
	signed, err := inst.signer.Issue(id, issuer, partner, secretID, now)
	inst.issued <- signed
	return signed, err
}

// set puts the partner into the directory with these studies.
func (inst *installation) set(enabled bool, studies ...string) {
	inst.mu.Lock()
	inst.directory = inst.directory.WithPartner(access.Partner{
		ID: acme, Studies: studies, Enabled: enabled, Secrets: []access.Secret{{SHA256: access.DigestSecret(secret)}},
	})
	inst.mu.Unlock()
	select {
	case inst.changed <- struct{}{}:
	default:
	}
}

func (inst *installation) publish(list ...events.Event) {
	inst.t.Helper()
	for _, e := range list {
		msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
		_, err := inst.js.PublishMsg(inst.t.Context(), msg)
		inst.ok(err)
	}
}

func (inst *installation) credentials() subscriber.Credentials {
	return subscriber.Credentials{TokenURL: inst.endpoint.URL, ClientID: acme, Secret: subscriber.Secret(secret)}
}

func (inst *installation) dial(cfg subscriber.PartnerConfig) *subscriber.Partner {
	inst.t.Helper()
	if cfg.Outage == nil {
		cfg.Outage = func(error) {}
	}
	p, err := subscriber.Dial(inst.t.Context(), inst.credentials(), inst.url, cfg)
	inst.ok(err)
	inst.t.Cleanup(p.Close)
	return p
}

func TestPartnerOfAnInstallation(t *testing.T) {
	t.Run("reads what is granted, from the first event on, until it is revoked", func(t *testing.T) {
		inst := newInstallation(t, nil)
		one, two := (&study{key: "S1"}).take(300), (&study{key: "S2"}).take(300)
		inst.publish(one[:100]...)
		inst.publish(two[:100]...)
		inst.set(true, "S1")
		p, r := inst.dial(subscriber.PartnerConfig{Patience: impatient}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		r.wait(t, "S1", 100)

		inst.set(true, "S1", "S2")
		// Its clock stands still, because a grant may take longer to be in effect than a study may be refused.
		patient := inst.dial(subscriber.PartnerConfig{Clock: newClock().time})
		_, revoked := follow(t, patient, "S2", r)
		r.wait(t, "S2", 100)
		inst.publish(one[100:200]...)
		inst.publish(two[100:200]...)
		r.wait(t, "S1", 200)
		r.wait(t, "S2", 200)
		_, again := follow(t, p, "S2", r) // a second reader of the study, which has nothing to do
		inst.set(true, "S1")
		if err := ended(t, again); !errors.Is(err, subscriber.ErrAccessEnded) || !errors.Is(err, events.Forbidden) {
			t.Errorf("Follow of what was revoked ended with %v", err)
		}
		inst.publish(two[200:]...)
		inst.publish(one[200:]...)
		r.wait(t, "S1", 300)
		inst.ok(stop())
		r.check(t, "S1", one)
		r.check(t, "S2", two[:200])

		inst.set(false)
		if err := ended(t, revoked); !errors.Is(err, subscriber.ErrAccessEnded) {
			t.Errorf("Follow of a removed partner ended with %v", err)
		}
	})

	t.Run("reads as many studies over a connection as its limit allows", func(t *testing.T) {
		const limit = 60
		inst := newInstallation(t, nil)
		var all []string
		for i := range limit + 1 {
			all = append(all, fmt.Sprint("S", i))
		}
		inst.set(true, all...)
		for _, name := range all {
			inst.publish((&study{key: name}).next())
		}
		p, r := inst.dial(subscriber.PartnerConfig{}), newMemoryFollower()
		var stop func() error
		for _, name := range all[:limit] {
			stop, _ = follow(t, p, name, r)
		}
		for _, name := range all[:limit] {
			r.wait(t, name, 1)
		}
		if err := p.Follow(t.Context(), all[limit], r); !errors.Is(err, events.Conflict) {
			t.Errorf("one study more returned %v", err)
		}
		inst.ok(stop())
		follow(t, p, all[limit], r)
		r.wait(t, all[limit], 1)
	})

	t.Run("reports that nobody answers logins, which does not end access", func(t *testing.T) {
		inst := newInstallation(t, nil)
		inst.set(true, "S1")
		inst.stop()
		ctx, cancel := context.WithTimeout(t.Context(), enough)
		defer cancel()
		var reported []error
		_, err := subscriber.Dial(ctx, inst.credentials(), inst.url, subscriber.PartnerConfig{
			Outage: func(err error) {
				if reported = append(reported, err); strings.Contains(err.Error(), "nobody answers logins") {
					cancel() // on a slow machine the server's time for a login may be over before
				}
			},
		})
		if err == nil || errors.Is(err, subscriber.ErrAccessEnded) {
			t.Errorf("Dial returned %v", err)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("reported %v", reported)
		}
	})

	t.Run("continues when its access token expires", func(t *testing.T) {
		const life = 2 * time.Second
		inst := newInstallation(t, func() time.Time { return time.Now().Add(life - access.Lifetime) })
		inst.set(true, "S1")
		want := (&study{key: "S1"}).take(30)
		p, r := inst.dial(subscriber.PartnerConfig{}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		for n := 10; n <= 30; n += 10 {
			inst.publish(want[n-10 : n]...)
			r.wait(t, "S1", n)
			for len(inst.issued) > 0 {
				<-inst.issued // those used until now
			}
			<-inst.issued // the next
		}
		inst.ok(stop())
		r.check(t, "S1", want)
	})
}
