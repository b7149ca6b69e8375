package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// elsewhere is a server under a configuration, and the way to it.
type elsewhere struct {
	*natsd.Outside
	server *server.Server
	c      natsd.Configuration
	dir    string
}

func newElsewhere(t *testing.T, partners ...tenancy.Account) elsewhere {
	t.Helper()
	e := elsewhere{c: configuration(t, partners...), dir: t.TempDir()}
	e.c.LoginIssuer = "" // nobody answers logins here
	e.server = node(t, e.dir, e.c, natsd.Node{Name: "one", Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
	e.Outside = reach(t, e.server.ClientURL(), e.c)
	return e
}

func reach(t *testing.T, url string, c natsd.Configuration) *natsd.Outside {
	t.Helper()
	o := natsd.Reach(natsd.OutsideConfig{
		URL: url,
		Options: func(r natsd.Role) ([]nats.Option, error) {
			return []nats.Option{nats.UserInfo(c.Credentials[r].User, c.Credentials[r].Password)}, nil
		},
		Timeout: 5 * time.Second, // all servers are there, and answer as soon as they can
		Log:     slog.New(slog.DiscardHandler),
	})
	t.Cleanup(o.Shutdown)
	return o
}

// join connects to an account as its only user, in place of a login that is
// answered: the server is told of the user, which bypasses the question.
func (e elsewhere) join(t *testing.T, account string) *nats.Conn {
	t.Helper()
	e.reload(t, strings.Replace(text(t, e.c), fmt.Sprintf("%q {\n", account),
		fmt.Sprintf("%q {\n    users: [{user: %q, password: any}]\n", account, account), 1))
	nc, err := nats.Connect(e.server.ClientURL(), nats.UserInfo(account, "any"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// reload has the server take up another configuration, as
// nats-server --signal reload does.
func (e elsewhere) reload(t *testing.T, accounts string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, "accounts.conf"), []byte(accounts), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.server.Reload(); err != nil {
		t.Fatal(err)
	}
}

func TestRolesConnectToAServerElsewhere(t *testing.T) {
	e := newElsewhere(t)
	for role := range e.c.Credentials {
		nc, err := e.Connect(role)
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		nc.Close()
	}

	t.Run("a wrong password is refused at once", func(t *testing.T) {
		wrong := e.c
		wrong.Credentials = nil
		if _, err := reach(t, e.server.ClientURL(), wrong).Connect(natsd.Reader); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an unknown user is waited for where logins are answered, but by nobody at present", func(t *testing.T) {
		c := configuration(t)
		server := node(t, t.TempDir(), c, natsd.Node{Name: "asks", Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
		var log lockedBuffer
		o := natsd.Reach(natsd.OutsideConfig{
			URL:     server.ClientURL(),
			Options: func(natsd.Role) ([]nats.Option, error) { return []nats.Option{nats.UserInfo("unknown", "any")}, nil },
			Log:     slog.New(slog.NewTextHandler(&log, nil)),
		})
		nc, err := o.Connect(natsd.Reader)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		if log.count("nobody answers logins") == 0 {
			t.Error("the log does not say so")
		}
	})
	t.Run("one that is away is waited for", func(t *testing.T) {
		dir, store := t.TempDir(), t.TempDir()
		n := natsd.Node{Name: "late", Listen: "127.0.0.1:-1", StoreDir: store}
		first := node(t, dir, e.c, n)
		n.Listen = strings.TrimPrefix(first.ClientURL(), "nats://")
		first.Shutdown()
		first.WaitForShutdown()
		nc, err := reach(t, "nats://"+n.Listen, e.c).Connect(natsd.Reader, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		connected := nc.StatusChanged(nats.CONNECTED)
		node(t, dir, e.c, n)
		wait(t, connected)
	})
}

func TestAnAccountElsewhereIsLookedAt(t *testing.T) {
	acme := tenancy.AccountOf("acme", []string{"S"}, limits)
	e := newElsewhere(t, acme)
	check := func(what string, a tenancy.Account, missing string) {
		t.Helper()
		if err := e.SetAccount(t.Context(), a); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		err := e.Configured(t.Context())
		switch {
		case missing == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case missing != "" && (!errors.Is(err, natsd.ErrNotConfigured) || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "one")):
			t.Errorf("%s: %v, want that %s is missing", what, err, missing)
		}
	}
	more := tenancy.AccountOf("acme", []string{"S", "T"}, limits)
	other := tenancy.AccountOf("other", nil, limits)
	check("as configured", acme, "")
	check("less than configured", tenancy.AccountOf("acme", nil, limits), "")
	check("one more study", more, "acme=T")
	check("live subjects only", tenancy.Account{Name: more.Name, Streams: more.Streams, Limits: limits}, "crit.v1.T.>")
	check("as it was again", acme, "")
	check("another partner", other, "partner-other")
	check("closed again", tenancy.ClosedAccount("other"), "")

	t.Run("again after a reload", func(t *testing.T) {
		for _, a := range []tenancy.Account{more, other} {
			if err := e.SetAccount(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Configured(t.Context()); !errors.Is(err, natsd.ErrNotConfigured) {
			t.Errorf("before: %v", err)
		}
		e.c.Partners = []tenancy.Account{more, other}
		e.reload(t, text(t, e.c))
		if err := e.Configured(t.Context()); !errors.Is(err, natsd.ErrNotConfigured) || !strings.Contains(err.Error(), "one more") {
			t.Errorf("an account that was new: %v", err)
		}
		e.reload(t, text(t, e.c))
		if err := e.Configured(t.Context()); err != nil {
			t.Errorf("after: %v", err)
		}
	})
	t.Run("not while no server answers", func(t *testing.T) {
		e.server.Shutdown()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := e.SetAccount(ctx, more); err == nil {
			t.Error("an account that nobody has looked at")
		}
	})
}

func TestServersElsewhereReloadWhenAsked(t *testing.T) {
	acme := tenancy.AccountOf("acme", []string{"S"}, limits)
	e := newElsewhere(t, acme)
	reload := func(c natsd.Configuration) (int, error) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(e.dir, "accounts.conf"), []byte(text(t, c)), 0o600); err != nil {
			t.Fatal(err)
		}
		return e.Reload(t.Context(), c.Partners)
	}
	e.c.Partners = []tenancy.Account{tenancy.AccountOf("acme", []string{"S", "T"}, limits)}
	if times, err := reload(e.c); err != nil || times != 1 {
		t.Errorf("another study: %d times, %v", times, err)
	}
	e.c.Partners = append(e.c.Partners, tenancy.AccountOf("other", nil, limits))
	if times, err := reload(e.c); err != nil || times != 2 {
		t.Errorf("another partner: %d times, %v", times, err)
	}
	if _, err := e.Reload(t.Context(), []tenancy.Account{tenancy.AccountOf("third", nil, limits)}); !errors.Is(err, natsd.ErrNotConfigured) {
		t.Errorf("a partner that is not in the file: %v", err)
	}
	changed := e.c
	changed.LoginIssuer = configuration(t).LoginIssuer
	if _, err := reload(changed); err == nil || !strings.Contains(err.Error(), "one") {
		t.Errorf("a change that needs a restart: %v", err)
	}
}

func TestWhatAccountsElsewhereSendIsCounted(t *testing.T) {
	e := newElsewhere(t, tenancy.AccountOf("acme", []string{"S"}, limits), tenancy.AccountOf("other", nil, limits))
	sends(t, e.join(t, "partner-acme"), 3)
	wantTraffic(t, e, "partner-acme", 3)
	wantTraffic(t, e, "partner-other", 0)
}

func TestConnectionsElsewhereAreListedAndClosed(t *testing.T) {
	e := newElsewhere(t, tenancy.AccountOf("acme", []string{"S"}, limits), tenancy.AccountOf("other", nil, limits))
	nc := e.join(t, "partner-acme")
	if list, err := e.Connections(t.Context(), "partner-other"); err != nil || len(list) != 0 {
		t.Errorf("connections of another: %v, %v", list, err)
	}
	list, err := e.Connections(t.Context(), "partner-acme")
	if err != nil || len(list) != 1 || list[0].User != "partner-acme" || list[0].Server != e.server.ID() {
		t.Fatalf("connections: %v, %v", list, err)
	}
	closed := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	for range 2 { // the second time there is none
		if err := e.Disconnect(t.Context(), list[0]); err != nil {
			t.Error(err)
		}
	}
	wait(t, closed)
	gone := tenancy.Connection{Server: "NGONE", ID: 1}
	if err := e.Disconnect(t.Context(), gone); err != nil {
		t.Errorf("of a server that is gone: %v", err)
	}
}
