package operator_test

import (
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

func all(accounts ...tenancy.Account) iter.Seq[tenancy.Account] { return slices.Values(accounts) }

// compare compares until all servers store what they should.
func (in *installation) compare(a *operator.Accounts, accounts ...tenancy.Account) {
	in.t.Helper()
	in.until("all servers are in step", func() error {
		if err := a.Compare(in.t.Context(), all(accounts...)); err != nil {
			return err
		}
		s, err := a.Servers(in.t.Context())
		if err == nil && len(s.Silent)+len(s.Behind) > 0 || len(s.Answering) != len(in.nodes) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
}

func TestFilesOfRunningServersThatAreLostOrDamagedAreWrittenAgain(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		a := in.accounts()
		acme, globex := accountOf("acme", "A"), accountOf("globex", "B")
		in.compare(a, acme, globex)
		for name, damage := range map[string]func(path string) error{
			"lost":  os.Remove,
			"empty": func(path string) error { return os.Truncate(path, 0) },
			"cut":   func(path string) error { return os.Truncate(path, 300) },
			"the directory is lost": func(path string) error {
				return os.RemoveAll(filepath.Dir(path))
			},
		} {
			t.Run(name, func(t *testing.T) {
				in := in.in(t)
				for _, n := range in.nodes[:max(1, len(in.nodes)-1)] {
					if err := damage(filepath.Join(n.accounts, in.keys.PartnerAccount("acme")+".jwt")); err != nil {
						t.Fatal(err)
					}
				}
				in.compare(a, acme, globex)
				in.wantImports("acme", "A")
				in.wantImports("globex", "B")
				for _, n := range in.nodes {
					in.mustLogin(n, "acme")
				}
			})
		}
	})
}

// A holder of SYS can push what it has signed itself.
func TestAForgedAccountIsPutRight(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.answerLogins()
		a := in.accounts()
		in.compare(a, accountOf("acme", "A"))
		stranger, err := nkeys.CreateOperator()
		if err != nil {
			t.Fatal(err)
		}
		forge := func(key string, change func(*jwt.AccountClaims)) {
			t.Helper()
			text, err := os.ReadFile(filepath.Join(in.nodes[0].accounts, key+".jwt"))
			if err != nil {
				t.Fatal(err)
			}
			claims, err := jwt.DecodeAccountClaims(string(text))
			if err != nil {
				t.Fatal(err)
			}
			change(claims)
			forged, err := claims.Encode(stranger)
			if err != nil {
				t.Fatal(err)
			}
			nc := in.mustConnect(operator.Keeper)
			if _, err := nc.Request("$SYS.REQ.CLAIMS.UPDATE", []byte(forged), timeout); err != nil {
				t.Fatal(err)
			}
			in.until("it is stored", func() error {
				for _, n := range in.nodes {
					if now, err := os.ReadFile(filepath.Join(n.accounts, key+".jwt")); err != nil || string(now) != forged {
						return fmt.Errorf("%s: %w", n.name, errors.Join(err, errors.New("another")))
					}
				}
				return nil
			})
		}
		forge(in.keys.PartnerAccount("acme"), func(c *jwt.AccountClaims) {
			c.Imports.Add(&jwt.Import{Type: jwt.Stream, Account: in.keys.App, Subject: "crit.v1.B.>"})
		})
		forge(in.keys.Auth, func(c *jwt.AccountClaims) { c.Authorization = jwt.ExternalAuthorization{} })
		forge(in.keys.App, func(c *jwt.AccountClaims) { c.Exports = nil })
		in.compare(a, accountOf("acme", "A"))
		in.wantImports("acme", "A")
		for _, n := range in.nodes {
			for _, key := range []string{in.keys.Auth, in.keys.App} {
				text, err := os.ReadFile(filepath.Join(n.accounts, key+".jwt"))
				if err != nil || !strings.Contains(in.preload.Text(), string(text)) {
					t.Errorf("server %s stores another account %s, %v", n.name, key, err)
				}
			}
			in.mustLogin(n, "acme")
			if _, err := in.login(n, "stranger"); err == nil {
				t.Error("a stranger got in")
			}
		}
	})
}

func TestDirectoriesOfAllServersAreLost(t *testing.T) {
	t.Parallel()
	eachSize(t, func(t *testing.T, in *installation) {
		in.makeStream("acme", "A")
		in.publish("A", "a1", "a2")
		in.answerLogins()
		a := in.accountsOf(nil)
		in.compare(a, accountOf("acme", "A"))
		if got := in.take(in.mustLogin(in.nodes[0], "acme"), "acme", "A"); got != "a1" {
			t.Errorf("pulled %q", got)
		}
		for _, n := range in.nodes {
			in.kill(n)
			if err := os.RemoveAll(n.accounts); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range in.nodes {
			in.start(n, false)
		}
		in.ready()
		in.compare(a, accountOf("acme", "A"))
		if got := in.take(in.mustLogin(in.nodes[len(in.nodes)-1], "acme"), "acme", "A"); got != "a2" {
			t.Errorf("pulled %q", got)
		}
	})
}

func TestServersThatWereKilledNeedNoPush(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprint(size, " servers"), func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t, size, true)
			in.makeStream("acme", "A")
			in.publish("A", "a1", "a2")
			in.answerLogins()
			a := in.accountsOf(nil)
			in.compare(a, accountOf("acme", "A"))
			if got := in.take(in.mustLogin(in.nodes[0], "acme"), "acme", "A"); got != "a1" {
				t.Errorf("pulled %q", got)
			}
			before := in.stored(in.nodes[0], "acme")
			for _, n := range in.nodes {
				in.kill(n)
			}
			for _, n := range in.nodes {
				in.start(n, true)
			}
			in.ready()
			nc := in.mustLogin(in.nodes[size-1], "acme")
			got := in.take(nc, "acme", "A")
			if got == "a1" && size == 1 { // one server alone may lose the last acknowledgement before it was killed
				got = in.take(nc, "acme", "A")
			}
			if got != "a2" {
				t.Errorf("pulled %q", got)
			}
			in.compare(a, accountOf("acme", "A"))
			if in.stored(in.nodes[0], "acme") != before {
				t.Error("what does not differ was pushed")
			}
		})
	}
}

// The server counts for some minutes, because it did not say that it ends.
func TestAServerThatWasKilledDuringAPushIsNamedAndPutRight(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, true)
	in.answerLogins()
	a := in.accountsOf(nil)
	in.compare(a, accountOf("acme", "A", "B"))
	gone := in.nodes[2]
	in.kill(gone)
	err := a.SetAccount(t.Context(), accountOf("acme", "A"))
	wantUnanswered(t, err, gone.name)
	if got := in.imports(in.nodes[0], "acme"); slices.Contains(got, "crit.v1.B.>") {
		t.Errorf("a server that answered lets through %q", got)
	}
	in.until("it is silent", func() error {
		s, err := a.Servers(t.Context())
		if err == nil && (!slices.Equal(s.Silent, []string{gone.name}) || len(s.Behind) > 0) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	in.start(gone, true)
	in.until("it is back and behind", func() error {
		s, err := a.Servers(t.Context())
		if err == nil && (!slices.Equal(s.Behind, []string{gone.name}) || len(s.Silent) > 0) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	in.compare(a, accountOf("acme", "A"))
	in.wantImports("acme", "A")
	in.mustLogin(gone, "acme")
}

func TestAServerThatIsPausedDuringAPushIsNamedAndPutRight(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, true)
	in.answerLogins()
	a := in.accountsOf(nil)
	in.compare(a, accountOf("acme", "A", "B"), accountOf("globex", "A"))
	paused := in.nodes[2]
	if err := paused.process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wantUnanswered(t, a.SetAccount(t.Context(), accountOf("acme", "A")), paused.name)
	wantUnanswered(t, a.SetAccount(t.Context(), tenancy.ClosedAccount("globex")), paused.name)
	// The others are in step meanwhile.
	wantUnanswered(t, a.Compare(t.Context(), all(accountOf("acme", "A"), tenancy.ClosedAccount("globex"))), paused.name)
	s, err := a.Servers(t.Context())
	want := operator.Servers{Answering: []string{"n1", "n2"}, Silent: []string{"n3"}}
	if diff := cmp.Diff(want, s); diff != "" || err != nil {
		t.Errorf("while it is paused: %v\n%s", err, diff)
	}
	if err := paused.process.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	in.compare(a, accountOf("acme", "A"), tenancy.ClosedAccount("globex"))
	in.wantImports("acme", "A")
	if _, err := in.login(paused, "globex"); err == nil {
		t.Error("a removed partner got in")
	}
}

func TestAServerThatWasStoppedDuringAPushGetsIt(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, false)
	in.answerLogins()
	a := in.accountsOf(nil)
	in.compare(a, accountOf("acme", "A", "B"))
	gone := in.nodes[1]
	in.kill(gone)
	// One that has said that it ends does not count.
	in.until("the others have it", func() error { return a.SetAccount(t.Context(), accountOf("acme", "A")) })
	in.start(gone, false)
	in.until("it is back and behind", func() error {
		s, err := a.Servers(t.Context())
		if err == nil && !slices.Equal(s.Behind, []string{gone.name}) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	in.compare(a, accountOf("acme", "A"))
	in.wantImports("acme", "A")
}

// A server that said that it ends is not taken for one that does not answer, nor does its
// former id stand for another one after it was started again.
func TestAServerOfUnknownNameThatDoesNotAnswerIsReportedAfterAnotherWasStartedAgain(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, false)
	now := time.Now()
	in.clock = func() time.Time { return now }
	a, other := in.accountsOf(nil), in.accountsOf(nil)
	answering := func(a *operator.Accounts, want int) {
		t.Helper()
		in.until(fmt.Sprint(want, " servers answer and no other is active"), func() error {
			s, err := a.Servers(t.Context())
			if err == nil && (len(s.Answering) != want || len(s.Silent) > 0) {
				err = fmt.Errorf("%+v", s)
			}
			return err
		})
	}
	answering(a, 3)
	in.kill(in.nodes[2]) // it says that it ends
	in.start(in.nodes[2], false)
	answering(other, 3)
	answering(a, 3) // which did not ask while it was away
	now = now.Add(time.Minute)
	answering(a, 3)
	addresses := brokertest.FreeAddresses(t, 2)
	unknown := in.newNode(filepath.Dir(in.nodes[0].file), "n4", addresses[0], addresses[1])
	in.start(unknown, true)
	answering(other, 4)
	in.kill(unknown) // it says nothing, and a never had an answer of it
	in.until("three servers answer", func() error {
		s, err := a.Servers(t.Context())
		if err == nil && (len(s.Answering) != 3 || len(s.Silent) != 1) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
}

func wantUnanswered(t *testing.T, err error, server string) {
	t.Helper()
	var unanswered *operator.UnansweredError
	if !errors.As(err, &unanswered) || !slices.Equal(unanswered.Servers, []string{server}) || !errors.Is(err, events.Unavailable) {
		t.Errorf("got %v, want that %s has not answered", err, server)
	}
}

var killRounds = flag.Int("kill-rounds", 3, "how often a server is killed in TestPushesWhileServersAreKilled")

// Whatever was under way when servers were killed ends as it should be.
func TestPushesWhileServersAreKilled(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, 3, true)
	a := in.accountsOf(func(c *operator.Config) { c.Timeout = 250 * time.Millisecond })
	wanted := make([]tenancy.Account, 8)
	for round := range *killRounds {
		killed := in.nodes[round%3]
		begun, done := make(chan bool, len(wanted)), make(chan bool)
		go func() {
			defer close(done)
			for i := range wanted {
				wanted[i] = accountOf(fmt.Sprint("p", i), fmt.Sprint("S", round))
				begun <- true
				_ = a.SetAccount(t.Context(), wanted[i]) // the server that is killed does not answer
			}
		}()
		for range round + 1 {
			<-begun
		}
		in.kill(killed)
		<-done
		in.start(killed, true)
	}
	in.compare(a, wanted...)
	for _, account := range wanted {
		in.wantImports(strings.TrimPrefix(account.Name, tenancy.AccountPrefix), fmt.Sprint("S", *killRounds-1))
	}
}
