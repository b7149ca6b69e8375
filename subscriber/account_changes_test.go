package subscriber_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

var (
	withoutAccount = flag.Duration("withoutaccount", 3*time.Second, "how long a partner is without its account")
	clusterChanges = flag.Int("clusterchanges", 30, "how many changes of an account are made on three servers")
)

// eachClient runs a test with either client, which reads a study in an installation of its
// own: on the embedded server, or on three servers.
func eachClient(t *testing.T, servers int, patience time.Duration, want []events.Event, test func(t *testing.T, inst *installation)) {
	open := func(t *testing.T) *installation {
		t.Parallel()
		var inst *installation
		if servers > 1 {
			inst = newClusterInstallation(t, servers)
		} else {
			inst = newInstallation(t, nil)
		}
		inst.set(true, "S1")
		inst.dial(subscriber.PartnerConfig{}).Close() // which waits until logins are let in; patience may be short
		return inst
	}
	t.Run("go", func(t *testing.T) {
		inst := open(t)
		p, r := inst.dial(subscriber.PartnerConfig{Patience: patience}), newMemoryFollower()
		stop, _ := follow(t, p, "S1", r)
		inst.publish(want[0])
		r.wait(t, "S1", 1)
		test(t, inst)
		r.wait(t, "S1", len(want))
		inst.ok(stop())
		r.check(t, "S1", want)
	})
	t.Run("node", func(t *testing.T) {
		needNode(t)
		inst := open(t)
		r := startNodeAt(t, inst.url, inst.endpoint.URL, map[string]any{"servers": strings.Split(inst.url, ","), "patience": patience.Milliseconds()})
		inst.publish(want[0])
		got := r.take(1)
		test(t, inst)
		got = append(got, r.take(len(want)-1)...)
		r.stop()
		compareNode(t, want, got)
	})
}

// account is the partner's, with limits that differ from one to the next.
func account(n int) tenancy.Account {
	limits := tenancy.DefaultLimits()
	limits.Connections += n % 2
	return tenancy.AccountOf(acme, []string{"S1"}, limits)
}

// A request may find nobody who answers while an account changes. That is no end of access.
func TestChangesOfAnAccountAreNotNoticed(t *testing.T) {
	for servers, changes := range map[int]int{1: 300, 3: *clusterChanges} {
		t.Run(fmt.Sprint(servers, " servers"), func(t *testing.T) {
			t.Parallel()
			want := (&study{key: "S1"}).take(1 + 2*changes)
			eachClient(t, servers, time.Millisecond, want, func(t *testing.T, inst *installation) {
				accounts := inst.accounts()
				defer accounts.Close()
				for n := range changes {
					inst.publish(want[1+2*n])
					inst.ok(accounts.SetAccount(t.Context(), account(n)))
					inst.publish(want[2+2*n])
				}
			})
		})
	}
}

func TestClientsComeBackWhenTheirAccountDoes(t *testing.T) {
	want := (&study{key: "S1"}).take(20)
	eachClient(t, 1, time.Minute, want, func(t *testing.T, inst *installation) {
		accounts := inst.accounts()
		defer accounts.Close()
		inst.ok(accounts.SetAccount(t.Context(), tenancy.ClosedAccount(acme)))
		inst.publish(want[1:10]...)
		over := time.After(*withoutAccount)
		<-over
		inst.ok(accounts.SetAccount(t.Context(), account(0)))
		inst.publish(want[10:]...)
	})
}
