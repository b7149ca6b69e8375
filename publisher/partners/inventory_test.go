package partners_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
)

func TestStatesOfConsumersAreAskedForInParts(t *testing.T) {
	const interval = 3 * time.Second
	for _, n := range []int{10, 1000, 3000, 10_000} {
		t.Run(fmt.Sprintf("of %d", n), func(t *testing.T) {
			consumers := []string{"busy=A", "busy=B"}
			for i := range n - len(consumers) {
				consumers = append(consumers, fmt.Sprintf("idle-%d=A", i))
			}
			rounds := partners.Rounds(consumers, int(time.Minute/interval), interval, "busy")
			seen := make(map[string]int)
			for i, round := range rounds {
				if most := max(256, n/15) + 2; len(round) > most {
					t.Errorf("round %d asks for %d, more than %d", i, len(round), most)
				}
				for _, name := range round {
					seen[name]++
				}
			}
			if len(seen) != n {
				t.Errorf("within a minute %d are seen", len(seen))
			}
			for _, name := range consumers[:2] {
				if seen[name] != len(rounds) {
					t.Errorf("%s, of a partner that is active, is seen in %d of %d rounds", name, seen[name], len(rounds))
				}
			}
		})
	}
}

func TestServersOfTheStreamThatAreGone(t *testing.T) {
	for what, c := range map[string]struct {
		peer jetstream.PeerInfo
		gone bool
	}{
		"one that follows":                                {jetstream.PeerInfo{Current: true, Active: time.Millisecond}, false},
		"one that lags behind":                            {jetstream.PeerInfo{Active: time.Second}, false},
		"one that said goodbye":                           {jetstream.PeerInfo{Offline: true, Active: time.Millisecond}, true},
		"one that was killed":                             {jetstream.PeerInfo{Active: 5 * time.Second}, true},
		"one that led until it was killed":                {jetstream.PeerInfo{Lag: 7}, true},
		"one that follows and was not active for a while": {jetstream.PeerInfo{Current: true, Active: 5 * time.Second}, false},
	} {
		t.Run(what, func(t *testing.T) {
			c.peer.Name = "n1"
			if got := partners.Away(&jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{&c.peer}}); got["n1"] != c.gone {
				t.Errorf("gone: %v", got)
			}
		})
	}
}

// There are more than are asked for in one round.
func TestAmongManyConsumersNothingIsOverlooked(t *testing.T) {
	h := newInstallation(t, config{})
	const n = 300
	h.publish("S-98", "one", "two")
	h.directory.change(func(d access.Directory) access.Directory { return withConsumers(d, n) })
	for want := 50; want <= n; want += 50 { // a slow machine has its time for each
		until(t, fmt.Sprint(want, " consumers"), func() bool { return len(h.consumers()) >= want })
	}
	until(t, "the service is ready with all", func() bool { s := h.reconciler.Status(); return s.Ready && s.Consumers == n })
	until(t, "p1 is let in", func() bool { // it may be ready as of the round before, and have failed to set the account in this one
		nc, err := h.login("p1")
		if err == nil {
			nc.Close()
		}
		return err == nil
	})

	t.Run("what a partner has acknowledged is noted", func(t *testing.T) {
		take(t, consumer(t, h.mustLogin("p1"), "p1=S-98"), 1)
		until(t, "the receipt is kept", func() bool { return h.receipts.of("p1", "S-98").Acknowledged == 1 })
	})
	t.Run("one that is deleted is created again behind that", func(t *testing.T) {
		if err := h.writer.DeleteConsumer(t.Context(), events.Stream, "p1=S-98"); err != nil {
			t.Fatal(err)
		}
		until(t, "it is there", func() bool { return slices.Contains(h.consumers(), "p1=S-98") })
		same(t, "the rest", take(t, consumer(t, h.mustLogin("p1"), "p1=S-98"), 1), "two")
	})
	t.Run("one that was replaced by another of its name gets its form back", func(t *testing.T) {
		for _, name := range []string{"p0=S-0", "p2=S-98"} { // none of these partners is active
			if err := h.writer.DeleteConsumer(t.Context(), events.Stream, name); err != nil {
				t.Fatal(err)
			}
			until(t, "one without a filter is in its place", func() bool {
				_, err := h.writer.CreateOrUpdateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: name})
				return err == nil
			})
			until(t, name+" has its filter", func() bool {
				c, err := h.writer.Consumer(t.Context(), events.Stream, name)
				return err == nil && strings.HasSuffix(c.CachedInfo().Config.FilterSubject, ".>")
			})
		}
	})
	t.Run("what is withdrawn is gone", func(t *testing.T) {
		h.setPartner(access.Partner{ID: "p1", Studies: []string{}, Secrets: []access.Secret{}})
		until(t, "its consumers are deleted", func() bool {
			return !slices.ContainsFunc(h.consumers(), func(name string) bool { return strings.HasPrefix(name, "p1") })
		})
	})
}

// A deletion that no server confirmed in time hides no other error.
func TestADeletionThatIsNotConfirmedHidesNoOtherError(t *testing.T) {
	late := fmt.Errorf("delete consumer acme=A: %w", context.DeadlineExceeded)
	refused := errors.New("delete consumer acme=B: refused")
	for what, c := range map[string]struct{ errs, want []error }{
		"none":             {[]error{nil, nil}, nil},
		"only not in time": {[]error{late, nil, late}, nil},
		"another too":      {[]error{late, refused, nil}, []error{refused}},
	} {
		got := errors.Join(partners.WithoutTimeouts(c.errs)...)
		if fmt.Sprint(got) != fmt.Sprint(errors.Join(c.want...)) {
			t.Errorf("%s: %v", what, got)
		}
	}
}
