package operator_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// slowRelay passes on what comes to the address that it returns, at once, and the answers at
// a pace. It closes its connections when cut is called.
func slowRelay(t *testing.T, to string) (address string, cut func()) {
	t.Helper()
	const answers, pace = 128, 30 * time.Millisecond // bytes: less than the answer to a push
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ended, end := context.WithCancel(context.Background())
	var mu sync.Mutex
	shutAll := func() {}
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			shut := func() { _, _ = client.Close(), server.Close() } // whoever is first
			context.AfterFunc(ended, shut)
			mu.Lock()
			before := shutAll
			shutAll = func() { before(); shut() }
			mu.Unlock()
			running.Go(func() {
				defer shut()
				_, _ = io.Copy(server, client) // until one of them closes
			})
			running.Go(func() {
				defer shut()
				tick := time.NewTicker(pace)
				defer tick.Stop()
				for {
					if _, err := io.CopyN(client, server, answers); err != nil {
						return
					}
					<-tick.C
				}
			})
		}
	})
	t.Cleanup(func() {
		end()
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String(), func() {
		mu.Lock()
		defer mu.Unlock()
		shutAll()
	}
}

// accountsOverRelay keeps the accounts on the first server, over a slow relay. The connection is
// lost when cut is called, and opened again.
func (in *installation) accountsOverRelay(t *testing.T, compareTimeout time.Duration) (a *operator.Accounts, cut func()) {
	t.Helper()
	address, cut := slowRelay(t, strings.TrimPrefix(in.nodes[0].url, "nats://"))
	return in.accountsOf(func(c *operator.Config) {
		c.Timeout, c.CompareTimeout = 3*time.Second, compareTimeout
		c.Connect = func() (*nats.Conn, error) {
			login, err := in.keys.Login(in.roles, operator.Keeper)
			if err != nil {
				return nil, err
			}
			return nats.Connect("nats://"+address, login, nats.Timeout(timeout), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
		}
	}), cut
}

// untilMany waits until a server stores more than half of 80 accounts.
func (in *installation) untilMany(n *node) {
	in.t.Helper()
	in.until("the server stores many accounts", func() error {
		stored, err := os.ReadDir(n.accounts)
		if err == nil && len(stored) < 48 {
			err = fmt.Errorf("it stores %d", len(stored))
		}
		return err
	})
}

func manyAccounts(id string, n int) (accounts []tenancy.Account) {
	for i := range n {
		accounts = append(accounts, accountOf(fmt.Sprint(id, i), "A"))
	}
	return accounts
}

// It takes longer than the timeout until all requests that are under way are answered.
func TestAServerThatAnswersSlowlyIsNotSilent(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	server := in.nodes[0]
	a, _ := in.accountsOverRelay(t, 3*time.Second)
	accounts := manyAccounts("p", 80)

	// A change follows the requests of a push that was interrupted.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	compared := make(chan error, 1)
	go func() { compared <- a.Compare(ctx, all(accounts...)) }()
	in.untilMany(server)
	cancel()
	<-compared
	if err := a.SetAccount(t.Context(), accountOf("acme", "B")); err != nil {
		t.Errorf("changed: %v", err)
	}
	in.wantImports("acme", "B")

	others := manyAccounts("q", 80) // it would take long to look up the first ones
	if err := a.Compare(t.Context(), all(others...)); err != nil {
		t.Errorf("pushed: %v", err)
	}
	if s, err := a.Servers(t.Context()); err != nil || len(s.Silent)+len(s.Behind) > 0 {
		t.Errorf("after it: %+v, %v", s, err)
	}
	for i := range others {
		in.wantImports(fmt.Sprint("q", i), "A")
	}
}

// Answers that are lost with the connection are not waited for.
func TestAConnectionIsLostDuringAPushOfMany(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	a, cut := in.accountsOverRelay(t, time.Hour)
	accounts := manyAccounts("p", 80)
	compared := make(chan error, 1)
	go func() { compared <- a.Compare(t.Context(), all(accounts...)) }()
	in.untilMany(in.nodes[0])
	cut()
	select {
	case err := <-compared:
		t.Logf("the push ended with: %v", err)
	case <-time.After(timeout):
		t.Fatal("the push has not ended")
	}
	in.compare(in.accountsOf(nil), accounts...)
}

func TestAServerThatStopsAnsweringDuringAPushOfManyIsNamedAndTheOthersGetAll(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, true)
	a := in.accountsOf(func(c *operator.Config) { c.CompareTimeout = 10 * time.Second })
	paused := in.nodes[2]
	accounts := manyAccounts("p", 300)
	var pausing iter.Seq[tenancy.Account] = func(yield func(tenancy.Account) bool) {
		for i, account := range accounts {
			if i == len(accounts)/2 {
				if err := paused.process.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
			}
			if !yield(account) {
				return
			}
		}
	}
	wantUnanswered(t, a.Compare(t.Context(), pausing), paused.name)
	for _, n := range in.nodes[:2] {
		for i := range accounts {
			if in.stored(n, fmt.Sprint("p", i)) == "" {
				t.Errorf("server %s does not store the account of p%d", n.name, i)
			}
		}
	}
	if err := paused.process.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	in.compare(a, accounts...)
	for i := range accounts {
		in.wantImports(fmt.Sprint("p", i), "A")
	}
}
