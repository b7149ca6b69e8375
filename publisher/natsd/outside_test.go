package natsd_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

var limits = tenancy.Limits{Connections: 4, Subscriptions: 8, Payload: 1 << 10}

// elsewhere is a server under a configuration, and the way to it.
type elsewhere struct {
	*natsd.Outside
	server *server.Server
	c      brokertest.Operation
}

func newElsewhere(t *testing.T) elsewhere {
	t.Helper()
	e := elsewhere{c: configure(t)}
	e.server = node(t, t.TempDir(), e.c, natsd.Node{Name: "one", Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
	e.Outside = reach(e.server.ClientURL(), e.c)
	return e
}

func reach(url string, c brokertest.Operation) *natsd.Outside {
	return natsd.Reach(natsd.OutsideConfig{
		URL: url, Options: optionsOf(c),
		Timeout: time.Minute, // all servers are there, and answer as soon as they can
		Log:     slog.New(slog.DiscardHandler),
	})
}

func optionsOf(c brokertest.Operation) func(natsd.Role) ([]nats.Option, error) {
	return func(r natsd.Role) ([]nats.Option, error) {
		login, err := c.Keys.Login(c.Roles, r)
		return []nats.Option{login, nats.Timeout(time.Minute)}, err
	}
}

func TestRolesConnectToAServerElsewhere(t *testing.T) {
	e := newElsewhere(t)
	for _, role := range operator.Roles {
		nc, err := e.Connect(role)
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		nc.Close()
	}

	t.Run("credentials of another installation are refused", func(t *testing.T) {
		nc, err := reach(e.server.ClientURL(), configure(t)).Connect(natsd.Reader)
		if err == nil {
			nc.Close()
		}
		wantRefused(t, err, natsd.Reader)
	})
	t.Run("one that is away is waited for", func(t *testing.T) {
		d := newDisguise(t, e.server.ClientURL())
		d.away.Store(true)
		nc, err := reach(d.url(), e.c).Connect(natsd.Reader, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		connected := nc.StatusChanged(nats.CONNECTED)
		d.away.Store(false)
		wait(t, connected)
	})
}

func wantRefused(t *testing.T, err error, role natsd.Role) {
	t.Helper()
	if !errors.Is(err, nats.ErrAuthorization) || !strings.Contains(err.Error(), string(role)) || !strings.Contains(err.Error(), "nats-config") {
		t.Errorf("got %v, want that %s is refused and what to do", err, role)
	}
}

// A connection that goes on trying does not hide that its credentials are those of before.
func TestARefusalOfAConnectionThatGoesOnTryingIsReturned(t *testing.T) {
	patient := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.IgnoreAuthErrorAbort()}
	former, now := configure(t), configure(t)
	for what, start := range map[string]bool{"it was connected before": true, "the server was away at the start": false} {
		t.Run(what, func(t *testing.T) {
			n := natsd.Node{Name: "one", Listen: "127.0.0.1:-1", StoreDir: t.TempDir()}
			first := node(t, t.TempDir(), former, n)
			d := newDisguise(t, first.ClientURL())
			o := reach(d.url(), former)
			var nc *nats.Conn
			connect := func() {
				t.Helper()
				var err error
				if nc, err = o.Connect(natsd.Callout, patient...); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(nc.Close)
			}
			if start {
				connect()
			}
			first.Shutdown()
			first.WaitForShutdown()
			if !start {
				connect()
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if err := o.AwaitRefusal(ended); err != nil {
				t.Errorf("while the server is away: %v", err)
			}
			n.StoreDir = t.TempDir()
			d.front(node(t, t.TempDir(), now, n).ClientURL())
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			wantRefused(t, o.AwaitRefusal(ctx), natsd.Callout)
		})
	}
}

// A server asks the callout about credentials of AUTH with a former signing key, and nobody
// answers. Its refusal comes later than its first PING, which ends the client's attempt.
func TestFormerCredentialsOfAnAccountWithACalloutAreFoundRefused(t *testing.T) {
	t.Parallel() // it waits for the server
	now := configure(t)
	former := brokertest.Operation{Keys: now.Keys, Roles: configure(t).Roles}
	n := node(t, t.TempDir(), now, natsd.Node{Name: "one", Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
	o := reach(n.ClientURL(), former)
	nc, err := o.Connect(natsd.Callout, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.IgnoreAuthErrorAbort())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := o.AwaitRefusal(ctx); err == nil || !strings.Contains(err.Error(), string(natsd.Callout)) || !strings.Contains(err.Error(), "nats-config") {
		t.Errorf("got %v, want that the callout is refused and what to do", err)
	}
}

func TestAnAccountElsewhereIsSet(t *testing.T) {
	e := newElsewhere(t)
	a := e.Accounts(e.c.Keys, e.c.Preload)
	defer a.Close()
	if err := a.SetAccount(t.Context(), tenancy.AccountOf("acme", []string{"S"}, limits)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(e.server.StoreDir(), "..", "jwt", e.c.Keys.PartnerAccount("acme")+".jwt"))
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

func wait(t *testing.T, status chan nats.Status) {
	t.Helper()
	select {
	case <-status:
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
	}
}
