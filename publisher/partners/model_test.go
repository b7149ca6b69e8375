package partners_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Whatever happens to access, and however fast, in the end consumers, logins
// and connections are as the directory has them.
func TestInTheEndEverythingMatchesTheDirectory(t *testing.T) {
	h := newInstallation(t, config{})
	studies := []string{"A", "B", "C"}
	for _, s := range studies {
		h.publish(s, s)
	}
	serial := 0
	rapid.Check(t, func(t *rapid.T) {
		serial++
		ids := []string{"p" + string(rune('a'+serial%26)), "q", "r"}
		want := make(map[string]access.Partner)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			p := access.Partner{
				ID: rapid.SampledFrom(ids).Draw(t, "partner"), Enabled: rapid.IntRange(0, 4).Draw(t, "enabled") > 0,
				Studies: rapid.SliceOfNDistinct(rapid.SampledFrom(studies), 0, 3, rapid.ID).Draw(t, "studies"),
			}
			p.Secrets = []access.Secret{{SHA256: access.DigestSecret(rapid.SampledFrom([]string{secretOf(p.ID), "another"}).Draw(t, "secret"))}}
			h.setPartner(p)
			want[p.ID] = p
			if rapid.Bool().Draw(t, "login") {
				if nc, err := h.login(p.ID); err == nil {
					defer nc.Close()
				}
			}
		}
		until(h.t, "everything is as the directory has it", func() bool { return h.agrees(want) })
	})
}

func (h *installation) agrees(want map[string]access.Partner) bool {
	for id, p := range want {
		consumers := slices.DeleteFunc(h.consumers(), func(name string) bool { return name != id && name[:min(len(name), len(id)+1)] != id+"=" })
		var needed []string
		if p.Enabled {
			needed = append(needed, id)
			for _, s := range p.Studies {
				needed = append(needed, events.PartnerConsumer(id, s))
			}
		}
		slices.Sort(needed)
		if !slices.Equal(consumers, needed) {
			return false
		}
		list, err := h.connections(id)
		if err != nil {
			return false
		}
		for _, c := range list {
			if !p.Enabled || c.User != id+"."+p.Secrets[0].SHA256[:16]+"."+grants(p.Studies) {
				return false
			}
		}
	}
	return true
}

// Logins that come in while access is withdrawn do not outlive it.
func TestLoginsDuringAWithdrawalDoNotOutliveIt(t *testing.T) {
	h := newInstallation(t, config{Limits: tenancy.Limits{Connections: 1000}, Rate: 1 << 20, Burst: 1 << 20})
	h.publish("A", "a1")
	h.publish("B", "b1")
	h.admit("acme", "A", "B")
	var clients sync.WaitGroup
	end := make(chan struct{})
	var mu sync.Mutex
	open := make(map[*nats.Conn]bool)
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if nc, err := h.login("acme"); err == nil {
					mu.Lock()
					if len(open) < 500 { // half of the limit
						open[nc] = true
					} else {
						nc.Close()
					}
					mu.Unlock()
				}
			}
		})
	}
	until(t, "logins are coming in", func() bool { mu.Lock(); defer mu.Unlock(); return len(open) > 20 })
	h.set("acme", "B")
	withdrawn := time.Now()
	stale := func() int {
		list, err := h.connections("acme")
		if err != nil {
			t.Fatal(err)
		}
		return len(slices.DeleteFunc(list, func(c tenancy.Connection) bool {
			_, opened, named := strings.Cut(c.User, ".") // it has its name a moment after it is listed
			return !named || strings.HasSuffix(opened, grants([]string{"B"}))
		}))
	}
	until(t, "connections from before are closed", func() bool { return stale() == 0 })
	t.Logf("they were closed %s after the withdrawal", time.Since(withdrawn))
	// From here on nobody gets in with more, although logins go on.
	for range 20 {
		if n := stale(); n > 0 {
			t.Errorf("%d connections opened too much", n)
		}
		nc, err := h.login("acme")
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	close(end)
	clients.Wait()
	for nc := range maps.Keys(open) {
		nc.Close()
	}
}
