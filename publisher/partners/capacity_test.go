package partners_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// logged is a log that can be searched while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func (l *logged) log() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// refused waits until just these are refused, as "partner study", and the service is ready
// all the same.
func (h *installation) refused(want ...string) {
	h.t.Helper()
	defer func() {
		if h.t.Failed() {
			h.t.Log(h.reconciler.Status())
		}
	}()
	until(h.t, fmt.Sprintf("just %q are refused", want), func() bool {
		s := h.reconciler.Status()
		var got []string
		for _, r := range s.Refused {
			got = append(got, strings.TrimSpace(r.Partner+" "+r.Study))
		}
		return s.Ready && strings.Join(got, ",") == strings.Join(want, ",")
	})
}

func TestAGrantBeyondTheLimitIsRefusedByNameAndAllElseGoesOn(t *testing.T) {
	var log logged
	h := newInstallation(t, config{MaxConsumers: 4, Log: log.log()})
	h.publish("A", "a1", "a2")
	h.publish("B", "b1")
	h.admit("acme", "A")
	h.admit("other", "A")
	nc, stranger := h.mustLogin("acme"), h.mustLogin("other")
	same(t, "before", take(t, consumer(t, nc, "acme=A"), 1), "a1")

	h.set("acme", "A", "B")
	h.refused("acme B")
	same(t, "what the partner had", take(t, consumer(t, nc, "acme=A"), 1), "a2")
	same(t, "another partner", take(t, consumer(t, stranger, "other=A"), 2), "a1", "a2")
	if text := h.reconciler.Status().CapacityWarning(); !strings.Contains(text, "partner acme in study B") ||
		!strings.Contains(text, "all 4 consumers") || !strings.Contains(text, "--max-consumers") {
		t.Errorf("the operator is told %q", text)
	}
	if got := h.metric("signoff_partners_consumers_refused", ""); got != 1 {
		t.Errorf("%v are counted as refused", got)
	}

	t.Run("a new partner gets in, to nothing yet", func(t *testing.T) {
		h.set("new", "A")
		h.refused("acme B", "new", "new A")
		late := h.mustLogin("new")
		if err := errors.Join(late.Publish("js.signoff.CONSUMER.INFO.SIGNOFF.new=A", nil), late.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := late.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("it may ask for the consumer: %v", err)
		}
	})
	t.Run("each is logged once", func(t *testing.T) {
		h.waitForTwoRounds()
		for _, who := range []string{"partner=acme study=B", `partner=new study=""`, "partner=new study=A"} {
			if n := log.count("cannot subscribe\" " + who); n != 1 {
				t.Errorf("%s is logged %d times", who, n)
			}
		}
	})
	t.Run("and gets it once there is capacity", func(t *testing.T) {
		h.setPartner(access.Partner{ID: "other", Studies: []string{}, Secrets: []access.Secret{}})
		h.refused("new A")
		h.admit("acme", "A", "B")
		same(t, "the study that was refused", take(t, consumer(t, h.mustLogin("acme"), "acme=B"), 1), "b1")
		h.set("acme", "B")
		h.refused()
		h.admit("new", "A")
		same(t, "the new partner", take(t, consumer(t, h.mustLogin("new"), "new=A"), 2), "a1", "a2")
	})
}

// waitForTwoRounds waits until the service has reconciled everything twice more.
func (h *installation) waitForTwoRounds() {
	h.t.Helper()
	for range 2 { // a new consumer of somebody else's is examined at once
		h.probes++ // the server may still be removing the files of the one before
		name := fmt.Sprint("probe-", h.probes)
		if _, err := h.writer.CreateConsumer(h.t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: name, Metadata: map[string]string{"signoff": "partner"}}); err != nil {
			h.t.Fatal(err)
		}
		until(h.t, "the service has deleted what has its mark", func() bool {
			_, err := h.writer.Consumer(h.t.Context(), events.Stream, name)
			return err != nil
		})
	}
}

func TestALimitBelowWhatIsThereTakesNothingAway(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1", "a2")
	h.admit("acme", "A")
	h.admit("other", "A")
	same(t, "before", take(t, consumer(t, h.mustLogin("other"), "other=A"), 1), "a1")
	h.cfg.MaxConsumers = 2
	h.restart()
	h.set("acme", "A", "B")
	h.refused("acme B")
	same(t, "after", take(t, consumer(t, h.mustLogin("other"), "other=A"), 1), "a2")
	same(t, "consumers", h.consumers(), "acme", "acme=A", "other", "other=A")
}

func TestConsumersThatAreLostGoBeforeNewOnes(t *testing.T) {
	h := newInstallation(t, config{MaxConsumers: 2})
	h.publish("A", "a1", "a2")
	h.admit("second", "A")
	take(t, consumer(t, h.mustLogin("second"), "second=A"), 1)
	until(t, "the receipt is kept", func() bool { return h.receipts.of("second", "A").Acknowledged == 1 })
	h.stop()
	h.set("first", "A") // by its name it would be served before
	for _, name := range h.consumers() {
		if err := h.writer.DeleteConsumer(t.Context(), events.Stream, name); err != nil {
			t.Fatal(err)
		}
	}
	h.startService()
	h.refused("first", "first A")
	same(t, "the rest", take(t, consumer(t, h.mustLogin("second"), "second=A"), 1), "a2")
}

// The server counts consumers that are not ours, and those of all streams where the
// account has a limit.
func TestWhatTheServerRefusesIsRefusedByNameToo(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	strangers := 0
	for ; strangers < 3; strangers++ {
		if _, err := h.writer.CreateConsumer(t.Context(), events.Stream, jetstream.ConsumerConfig{Durable: fmt.Sprint("s-", strangers)}); err != nil {
			t.Fatal(err)
		}
	}
	h.limitStream(len(h.consumers()))
	h.set("acme", "A", "B")
	h.refused("acme B")
	if text := h.reconciler.Status().CapacityWarning(); !strings.Contains(text, "max_consumers of the account") {
		t.Errorf("the operator is told %q", text)
	}
	h.limitStream(len(h.consumers()) + 1)
	h.refused()
	h.admit("acme", "A", "B")
}

// limitStream has the stream allow n consumers.
func (h *installation) limitStream(n int) {
	h.t.Helper()
	stream, err := h.writer.Stream(h.t.Context(), events.Stream)
	if err != nil {
		h.t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	c.MaxConsumers = n
	if _, err := h.writer.UpdateStream(h.t.Context(), c); err != nil {
		h.t.Fatal(err)
	}
}

func TestConsumersAreReservedForTheServiceItself(t *testing.T) {
	h := newInstallation(t, config{})
	h.limitStream(20)
	var studies []string
	for i := range 30 {
		studies = append(studies, fmt.Sprintf("S-%02d", i))
	}
	h.set("acme", studies...)
	until(t, "the stream is as full as it may be", func() bool { s := h.reconciler.Status(); return s.Ready && s.Consumers == 18 && len(s.Refused) == 13 })
	if _, err := h.writer.OrderedConsumer(t.Context(), events.Stream, jetstream.OrderedConsumerConfig{}); err != nil {
		t.Errorf("a read model: %v", err)
	}
	if text := h.reconciler.Status().CapacityWarning(); !strings.Contains(text, "max_consumers of the NATS account") {
		t.Errorf("the operator is told %q", text)
	}
}

func TestFourFifthsOfTheLimitAreAWarning(t *testing.T) {
	var log logged
	h := newInstallation(t, config{MaxConsumers: 5, Log: log.log()})
	h.admit("acme", "A", "B")
	if text := h.reconciler.Status().CapacityWarning(); text != "" {
		t.Errorf("with 3 of 5 the operator is told %q", text)
	}
	for crossing := 1; crossing <= 2; crossing++ {
		h.admit("acme", "A", "B", "C")
		until(t, "4 are counted", func() bool { return h.metric("signoff_partners_consumers", "") == 4 })
		h.waitForTwoRounds()
		if n := log.count("most of the consumers"); n != crossing {
			t.Errorf("logged %d times after crossing %d", n, crossing)
		}
		until(t, "the operator is told of 4 of 5", func() bool { // a deletion that was not confirmed in time counts for a round
			return strings.Contains(h.reconciler.Status().CapacityWarning(), "4 of the 5 consumers")
		})
		h.admit("acme", "A")
		until(t, "2 are counted", func() bool { return h.metric("signoff_partners_consumers", "") == 2 })
	}
	if got := h.metric("signoff_partners_consumers_limit", ""); got != 5 {
		t.Errorf("the limit is %v", got)
	}
}
