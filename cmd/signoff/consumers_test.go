package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
)

// Ten partners that together need more than the server's default of 1,000 consumers.
func TestPartnersMayHaveMoreConsumersThanTheBrokersDefault(t *testing.T) {
	t.Parallel()
	const partners, studies = 10, 101
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	var names []string
	for i := range studies {
		names = append(names, fmt.Sprint("MANY-", i))
	}
	for i := range partners {
		if _, err := p.Outbox.Accounts().AddPartner(t.Context(), "test", fmt.Sprint("p", i), "", names); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := p.Reader.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= partners; n++ { // a slow machine has its time for each
		eventually(t, fmt.Sprintf("the consumers of %d partners", n), func() error {
			if info, err := stream.Info(t.Context()); err != nil || info.State.Consumers < n*(1+studies) {
				return fmt.Errorf("%+v, %w", info, err)
			}
			return nil
		})
	}
	eventually(t, "readiness", func() error {
		if s := p.Partners.Status(); !s.Ready || s.Consumers != partners*(1+studies) {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
	if findings := awaitReady(t, p); findings["partnerConsumers"] != "" {
		t.Errorf("/readyz: %v", findings)
	}
}

func TestAGrantBeyondTheLimitOfConsumersIsNamedEverywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := loopback()
	s.MaxConsumers = 5
	p, _ := startWith(t, dir, s, slog.New(slog.DiscardHandler))

	quiet := mustSignoff(t, "partner", "add", "acme", "--study", "A", "--data", dir)
	if strings.Contains(quiet.err, "beyond the limit") {
		t.Errorf("within the limit: %s", quiet.err)
	}
	mustSignoff(t, "partner", "add", "other", "--study", "A", "--data", dir)
	eventually(t, "the warning of signoff status", func() error {
		if r := mustSignoff(t, "status", "--data", dir); !strings.Contains(r.out, "partnerConsumers: 4 of the 5") {
			return fmt.Errorf("it shows\n%s", r.out)
		}
		return nil
	})
	mustSignoff(t, "partner", "grant", "acme", "B", "--data", dir)
	beyond := mustSignoff(t, "partner", "grant", "other", "B", "--data", dir)
	if want := "partner other in study B is beyond the limit"; !strings.Contains(beyond.err, want) || !strings.Contains(beyond.err, "--max-consumers") {
		t.Errorf("the command prints %q", beyond.err)
	}
	if again := mustSignoff(t, "partner", "grant", "acme", "B", "--data", dir); strings.Contains(again.err, "beyond the limit") {
		t.Errorf("a grant that was there before: %s", again.err)
	}
	eventually(t, "the refusal", func() error {
		if s := p.Partners.Status(); !s.Ready || len(s.Refused) != 1 {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
	findings := awaitReady(t, p)
	for _, want := range []string{"cannot subscribe: partner other in study B", "all 5 consumers", "--max-consumers"} {
		if !strings.Contains(findings["partnerConsumers"], want) {
			t.Errorf("/readyz does not contain %q: %v", want, findings)
		}
		eventually(t, "signoff status to print it", func() error {
			if r := mustSignoff(t, "status", "--data", dir); !strings.Contains(r.out, want) {
				return fmt.Errorf("it does not contain %q:\n%s", want, r.out)
			}
			return nil
		})
	}
}

func TestTheLimitOfConsumersIsASetting(t *testing.T) {
	t.Parallel()
	if r := signoff(t, "serve", "--data", t.TempDir(), "--max-consumers", "0"); r.status != exitUsage || !strings.Contains(r.err, "--max-consumers") {
		t.Errorf("0: status %d, %s", r.status, r.err)
	}
	dir := t.TempDir()
	s := loopback()
	s.MaxConsumers = 1500
	p, _ := startWith(t, dir, s, slog.New(slog.DiscardHandler))
	stream, err := p.Reader.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config.MaxConsumers; got != 1500+partners.OwnConsumers {
		t.Errorf("the stream allows %d consumers", got)
	}
}

func TestReplicasOfConsumersAreForClusters(t *testing.T) {
	t.Parallel()
	s := loopback()
	s.NATSConsumerReplicas = 3
	if _, err := server.Open(t.Context(), datadir.Dir(t.TempDir()), s, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--nats-consumer-replicas") {
		t.Errorf("with the embedded server: %v", err)
	}
	s.Flags = natsflags.Flags{NATSURL: "nats://127.0.0.1:1", NATSCreds: "{role}"}
	if _, err := server.Open(t.Context(), datadir.Dir(t.TempDir()), s, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--nats-consumer-replicas") {
		t.Errorf("with more than the stream has: %v", err)
	}
}

// Each partner's consumer is stored by one server only, and that one is killed, so that it
// cannot hand over.
func TestAPartnerGoesOnWhenTheOnlyServerOfItsConsumerIsKilled(t *testing.T) {
	o := newClusterServer(t, 3)
	o.stop()
	s := o.settings()
	s.Listen, s.NATSConsumerReplicas = o.listen, 1
	o.p, o.stop = startWith(t, o.data, s, slog.New(slog.DiscardHandler))
	consumer := events.PartnerConsumer("acme", events.StudyKey(demoStudy))
	js := o.as(t, natsd.Operator)
	held := func() (leader string, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := js.Consumer(ctx, events.Stream, consumer)
		if err != nil {
			return "", err
		}
		if n := len(c.CachedInfo().Cluster.Replicas); n > 0 {
			return "", fmt.Errorf("%d more servers hold it", n)
		}
		return c.CachedInfo().Cluster.Leader, nil
	}
	var killed string
	eventually(t, "a consumer held by one server", func() (err error) { killed, err = held(); return err })
	f := o.follow(demoStudy)
	o.sign("2001")
	before := o.last(demoStudy)
	eventually(t, "what was signed before", func() error { return f.has(before) })

	// The hardest case: the next leader has never seen the consumer.
	leads := fmt.Sprintf(`{"placement":{"preferred":%q}}`, killed)
	eventually(t, "that server as the stream's leader", func() error {
		if leader := o.stream().Cluster.Leader; leader != killed {
			_, err := o.as(t, natsd.Publisher).Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN.SIGNOFF", []byte(leads), 10*time.Second)
			return fmt.Errorf("%s leads, %w", leader, err)
		}
		return nil
	})
	o.kill(slices.Index(o.hosts, killed))
	eventually(t, "the consumer on another server", func() error {
		now, err := held()
		if now == killed {
			err = errors.New("it is where it was")
		}
		return err
	})
	o.sign("2002")
	after := o.last(demoStudy)
	eventually(t, "what was signed after", func() error { return f.has(after) })
}
