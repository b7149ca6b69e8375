package operator_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// slowRelay passes on what comes to the address that it returns, at once, and the answers at
// a pace.
func slowRelay(t *testing.T, to string) (address string) {
	t.Helper()
	const answers, pace = 128, 10 * time.Millisecond // bytes: less than the answer to a push
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ended, end := context.WithCancel(context.Background())
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
	return l.Addr().String()
}

func manyAccounts(n int) (accounts []tenancy.Account) {
	for i := range n {
		accounts = append(accounts, accountOf(fmt.Sprint("p", i), "A"))
	}
	return accounts
}

// It takes longer than the timeout until all requests that are under way are answered.
func TestAServerThatAnswersSlowlyIsNotSilent(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 1, false)
	server := in.nodes[0]
	relayed := slowRelay(t, server.url[len("nats://"):])
	a := in.accountsOf(func(c *operator.Config) {
		c.Timeout, c.CompareTimeout = time.Second, time.Second
		c.Connect = func() (*nats.Conn, error) {
			login, err := in.keys.Login(in.roles, operator.Keeper)
			if err != nil {
				return nil, err
			}
			return nats.Connect("nats://"+relayed, login, nats.Timeout(timeout))
		}
	})
	accounts := manyAccounts(80)

	// A change follows the requests of a push that was interrupted.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	compared := make(chan error, 1)
	go func() { compared <- a.Compare(ctx, all(accounts...)) }()
	in.until("the server stores many accounts", func() error {
		stored, err := os.ReadDir(server.accounts)
		if err == nil && len(stored) < 48 {
			err = fmt.Errorf("it stores %d", len(stored))
		}
		return err
	})
	cancel()
	<-compared
	if err := a.SetAccount(t.Context(), accountOf("acme", "B")); err != nil {
		t.Errorf("changed: %v", err)
	}
	in.wantImports("acme", "B")

	if err := a.Compare(t.Context(), all(accounts...)); err != nil {
		t.Errorf("pushed: %v", err)
	}
	if s, err := a.Servers(t.Context()); err != nil || len(s.Silent)+len(s.Behind) > 0 {
		t.Errorf("after it: %+v, %v", s, err)
	}
	for i := range accounts {
		in.wantImports(fmt.Sprint("p", i), "A")
	}
}

func TestAServerThatStopsAnsweringDuringAPushOfManyIsNamedAndTheOthersGetAll(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, true)
	a := in.accountsOf(func(c *operator.Config) { c.CompareTimeout = 5 * time.Second })
	paused := in.nodes[2]
	accounts := manyAccounts(300)
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
