package partners_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// closed waits until a connection is closed, and logs how long that took, which
// BenchmarkWithdrawal measures.
func closed(t *testing.T, what string, status chan nats.Status) {
	t.Helper()
	begun := time.Now()
	select {
	case <-status:
		t.Logf("%s: closed after %s", what, time.Since(begun))
	case <-time.After(timeout):
		t.Errorf("%s is still connected", what)
	}
}

func TestAWithdrawnStudyIsGone(t *testing.T) {
	h := newInstallation(t, config{AckWait: time.Second})
	h.publish("A", "a1", "a2", "a3")
	h.publish("B", "b1", "b2")
	h.admit("acme", "A", "B")
	h.admit("other", "A")
	nc := h.mustLogin("acme")
	stranger := h.mustLogin("other")
	b := consumer(t, nc, "acme=B")
	same(t, "of B", take(t, b, 1), "b1")
	// One event of A is on its way, not acknowledged: it must not come again.
	msg, err := consumer(t, nc, "acme=A").Next(jetstream.FetchMaxWait(timeout))
	if err != nil || string(msg.Data()) != "a1" {
		t.Fatal(msg, err)
	}
	gone, stays := nc.StatusChanged(nats.CLOSED), stranger.StatusChanged(nats.CLOSED)
	h.set("acme", "B")
	closed(t, "the partner", gone)

	nc = h.mustLogin("acme")
	if err := errors.Join(nc.Publish("js.signoff.CONSUMER.INFO.SIGNOFF.acme=A", nil), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("it may ask for the consumer: %v", err)
	}
	until(t, "the consumer is gone", func() bool {
		_, err := h.writer.Consumer(t.Context(), events.Stream, "acme=A")
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
	live, err := nc.SubscribeSync("crit.v1.A.>")
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Flush() // the server has said no by then
	h.publish("A", "a4")
	h.publish("B", "b3")
	b = consumer(t, nc, "acme=B")
	same(t, "the rest of B", take(t, b, 2), "b2", "b3")
	none(t, b)
	if n, _, err := live.Pending(); err == nil && n > 0 {
		t.Errorf("%d live events", n)
	}
	same(t, "the other partner", take(t, consumer(t, stranger, "other=A"), 4), "a1", "a2", "a3", "a4")
	select {
	case <-stays:
		t.Error("the other partner was thrown out")
	default:
	}
}

func TestAStudyGrantedAgainStartsFromItsFirstEvent(t *testing.T) {
	h := newInstallation(t, config{})
	h.publish("A", "a1", "a2")
	h.admit("acme", "A")
	take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 2)
	until(t, "the receipt is kept", func() bool { return h.receipts.of("acme", "A").Acknowledged == 2 })
	h.admit("acme")
	h.admit("acme", "A")
	same(t, "once more", take(t, consumer(t, h.mustLogin("acme"), "acme=A"), 2), "a1", "a2")
}

func TestARemovedPartnerIsOut(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A", "B")
	first, second := h.mustLogin("acme").StatusChanged(nats.CLOSED), h.mustLogin("acme").StatusChanged(nats.CLOSED)
	token := h.token("acme")
	h.setPartner(access.Partner{ID: "acme", Studies: []string{}, Secrets: []access.Secret{}})
	closed(t, "the first connection", first)
	closed(t, "the second connection", second)
	nc, err := h.login("acme")
	wantRefused(t, "the secret", nc, err)
	nc, err = h.dial(nats.Token(token))
	wantRefused(t, "the token", nc, err)
	until(t, "its consumers are gone", func() bool { return len(h.consumers()) == 0 })
}

// consumers names all consumers of the stream.
func (h *installation) consumers() []string {
	h.t.Helper()
	stream, err := h.writer.Stream(h.t.Context(), events.Stream)
	if err != nil {
		h.t.Fatal(err)
	}
	names := []string{}
	for name := range stream.ConsumerNames(h.t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestRotatedSecrets(t *testing.T) {
	digest := func(secret string, expires *time.Time) access.Secret {
		return access.Secret{SHA256: access.DigestSecret(secret), Expires: expires}
	}
	t.Run("without grace what the old one opened is closed", func(t *testing.T) {
		h := newInstallation(t, config{})
		h.admit("acme", "A")
		old := h.token("acme")
		byToken, err := h.dial(nats.Token(old))
		if err != nil {
			t.Fatal(err)
		}
		defer byToken.Close()
		first, second := h.mustLogin("acme").StatusChanged(nats.CLOSED), byToken.StatusChanged(nats.CLOSED)
		h.setPartner(access.Partner{ID: "acme", Studies: []string{"A"}, Enabled: true, Secrets: []access.Secret{digest("new", nil)}})
		closed(t, "who came with the old secret", first)
		closed(t, "who came with a token of the old secret", second)
		nc, err := h.login("acme")
		wantRefused(t, "the old secret", nc, err)
		nc, err = h.dial(nats.Token(old))
		wantRefused(t, "the old token", nc, err)
		nc, err = h.dial(nats.UserInfo("acme", "new"))
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	})
	t.Run("with grace the old one goes on until it ends", func(t *testing.T) {
		t.Parallel() // it waits for the end
		h := newInstallation(t, config{})
		h.admit("acme", "A")
		first := h.mustLogin("acme")
		end := time.Now().Add(20 * time.Second)
		h.setPartner(access.Partner{ID: "acme", Studies: []string{"A"}, Enabled: true,
			Secrets: []access.Secret{digest(secretOf("acme"), &end), digest("new", nil)}})
		until(t, "the new secret opens", func() bool {
			nc, err := h.dial(nats.UserInfo("acme", "new"))
			if err != nil {
				return false
			}
			h.t.Cleanup(nc.Close)
			return true
		})
		old := h.mustLogin("acme").StatusChanged(nats.CLOSED)
		if err := first.Flush(); err != nil {
			t.Errorf("thrown out in the time of grace: %v", err)
		}
		wait := first.StatusChanged(nats.CLOSED)
		for what, status := range map[string]chan nats.Status{"before": wait, "within": old} {
			select {
			case <-status:
			case <-time.After(timeout):
				t.Errorf("who came with the old secret %s the time of grace stays", what)
			}
		}
		late := time.Since(end)
		t.Logf("closed %s after the end of the time of grace", late)
		if late < -time.Second { // the server counts seconds
			t.Error("closed within the time of grace")
		}
	})
}

func TestASigningKeyThatRetiresClosesNoConnection(t *testing.T) {
	h := newInstallation(t, config{})
	h.admit("acme", "A")
	token := h.token("acme")
	nc, err := h.dial(nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	retired := h.signer.Key(time.Now().Add(-time.Hour))
	retired.Until = time.Now().Add(time.Second)
	h.directory.change(func(d access.Directory) access.Directory {
		return d.WithKey(retired).WithKey(stranger(t).Key(time.Now()))
	})
	h.admit("later", "A") // so that the change was seen
	if _, err := info(nc, "acme=A"); err != nil {
		t.Errorf("the connection: %v", err)
	}
	again, err := h.dial(nats.Token(token))
	if err != nil {
		t.Errorf("an access token issued before: %v", err)
	}
	again.Close()
}

// recorder notes in which order things are done to accounts, and holds up what
// a test wants held up.
type recorder struct {
	accounts
	h *installation

	mu   sync.Mutex
	done []string
}

func (r *recorder) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, what)
}

func (r *recorder) SetAccount(ctx context.Context, a tenancy.Account) error {
	r.note(fmt.Sprintf("let through %d, consumers %v", len(a.Streams), r.h.consumers()))
	return r.accounts.SetAccount(ctx, a)
}

func (r *recorder) Disconnect(ctx context.Context, c tenancy.Connection) error {
	r.note("disconnect")
	return r.accounts.Disconnect(ctx, c)
}

func TestWithdrawalHasItsOrder(t *testing.T) {
	h := newInstallation(t, config{})
	h.stop()
	r := &recorder{accounts: h.accounts, h: h}
	h.accounts = r
	h.startService()
	h.ready()
	h.admit("acme", "A", "B")
	gone := h.mustLogin("acme").StatusChanged(nats.CLOSED)
	until(t, "it is the only connection", func() bool {
		list, err := h.connections("acme")
		return err == nil && len(list) == 1
	})
	h.set("acme", "B")
	closed(t, "the partner", gone)
	r.mu.Lock()
	defer r.mu.Unlock()
	same(t, "what was done", r.done,
		"let through 3, consumers [acme acme=A acme=B]",
		"let through 2, consumers [acme acme=B]",
		"disconnect")
}
