package operator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

func TestConnectionsOfAllPartnersAreListedAndClosed(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		a := in.accountsOf(func(c *operator.Config) { c.Timeout = time.Hour }) // no answer may be missing, as of a server without connections
		in.compare(a, accountOf("acme", "A"), accountOf("globex", "A"), accountOf("initech", "A"))
		open := make(map[string]*nats.Conn)
		for _, id := range []string{"acme", "globex"} {
			open[id] = in.mustLogin(in.nodes[len(in.nodes)-1], id)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		defer time.AfterFunc(timeout, cancel).Stop()
		connections, err := a.Connections(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(connections) != 2 || len(connections["partner-acme"]) != 1 || len(connections["partner-globex"]) != 1 {
			t.Fatalf("listed are %+v", connections)
		}
		acme := connections["partner-acme"][0]
		if id, err := open["acme"].GetClientID(); err != nil || id != acme.ID || acme.User != "acme" {
			t.Errorf("listed is %+v, want %d of acme, %v", acme, id, err)
		}
		for range 3 {
			if err := open["globex"].Publish("crit.anything", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := open["globex"].Flush(); err != nil {
			t.Fatal(err)
		}
		in.until("what it sent is counted", func() error {
			traffic, err := a.Traffic(ctx)
			if err != nil {
				return err
			}
			received := uint64(0)
			for _, s := range traffic {
				received += s.Accounts["partner-globex"].Received
			}
			if len(traffic) != len(in.nodes) || received != 3 {
				return errors.New("not yet")
			}
			return nil
		})
		backlogs, err := a.Backlogs(ctx)
		if err != nil || len(backlogs) != 2 {
			t.Errorf("backlogs are %+v, %v", backlogs, err)
		}
		closed := open["acme"].StatusChanged(nats.CLOSED)
		for range 2 { // once more is harmless
			if err := a.Disconnect(ctx, acme); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "the connection is closed", closed)
		acme.Server = "GONE"
		if err := a.Disconnect(ctx, acme); err != nil {
			t.Errorf("a connection of a server that is gone: %v", err)
		}
		in.until("it is not listed", func() error {
			connections, err := a.Connections(ctx)
			if err == nil && len(connections["partner-acme"]) > 0 {
				err = errors.New("still listed")
			}
			return err
		})
	})
}

// No request loads an account on a server: it is loaded when its partner logs in.
func TestNoRequestLoadsAnAccount(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	in.answerLogins()
	a := in.accounts()
	in.compare(a, accountOf("acme", "A"), accountOf("globex", "A"))
	for _, request := range []func() error{
		func() error { _, err := a.Connections(t.Context()); return err },
		func() error { _, err := a.Backlogs(t.Context()); return err },
		func() error { _, err := a.Traffic(t.Context()); return err },
		func() error { return a.SetAccount(t.Context(), accountOf("acme", "B")) },
		func() error { return a.Compare(t.Context(), all(accountOf("acme", "B"), accountOf("globex", "A"))) },
	} {
		if err := request(); err != nil {
			t.Fatal(err)
		}
	}
	if n := in.nodes[0].embedded.NumLoadedAccounts(); n > 4 { // SYS, AUTH, APP and the server's own global account
		t.Errorf("%d accounts are loaded", n)
	}
	in.mustLogin(in.nodes[0], "acme")
	if n := in.nodes[0].embedded.NumLoadedAccounts(); n != 5 {
		t.Errorf("after a login %d accounts are loaded", n)
	}
}

// A server without connections answers no request for those that accounts have.
func TestAServerWithoutConnectionsIsNotWaitedFor(t *testing.T) {
	in := newInstallation(t, 3, false)
	in.answerLogins()
	a := in.accountsOf(func(c *operator.Config) { c.Timeout = time.Hour })
	in.compare(a, accountOf("acme", "A"))
	in.mustLogin(in.nodes[0], "acme") // what else is connected is connected there too
	listed := make(chan error, 1)
	go func() {
		connections, err := a.Connections(t.Context())
		if n := len(connections["partner-acme"]); err == nil && n != 1 {
			err = fmt.Errorf("%d connections are listed", n)
		}
		listed <- err
	}()
	select {
	case err := <-listed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(timeout):
		t.Error("a server without connections is waited for")
	}
}

// await waits for a change of a connection's status.
func await(t *testing.T, what string, changed <-chan nats.Status) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(timeout):
		t.Fatalf("waited in vain until %s", what)
	}
}
