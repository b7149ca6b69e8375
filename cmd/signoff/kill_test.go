package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

const (
	kills         = 24
	killWorkers   = 4
	killStudies   = 3
	killMaxSigned = 60 // acknowledgements per round at most
)

// signerChild is a whole server that signs as fast as it can and prints each
// acknowledged sign-off: "round worker i sequence". It runs until it is killed.
func signerChild() int {
	dir, round := os.Args[1], os.Args[2]
	ctx := context.Background()
	p, err := server.Open(ctx, datadir.Dir(dir), loopback(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() { _ = p.Run(ctx, func(datadir.Serving) {}) }()
	var out sync.Mutex
	var workers sync.WaitGroup
	for w := range killWorkers {
		workers.Go(func() {
			for i := 1; ; i++ {
				id := fmt.Sprintf("%s-%d-%d", round, w, i)
				sequence, err := registerAndSign(ctx, p.Outbox, killAssessment(id, w, i))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(id, sequence)
				out.Unlock()
			}
		})
	}
	workers.Wait()
	return 0
}

func registerAndSign(ctx context.Context, o *outbox.Outbox, a events.Assessment) (uint64, error) {
	results, err := o.Register(ctx, "test", []events.Submission{{Assessment: a}})
	if err != nil {
		return 0, err
	}
	if results[0].Err != nil {
		return 0, results[0].Err
	}
	signed, err := o.SignOff(ctx, outbox.SignOff{User: "pi", Meaning: "approved", IDs: []string{a.ID}})
	if err != nil {
		return 0, err
	}
	return signed[0].Sequence, nil
}

// killAssessment is a baseline with a lesion, so that it makes two events.
func killAssessment(id string, worker, i int) events.Assessment {
	return events.Assessment{
		ID: id, Study: killStudy(worker % killStudies), SponsorStudy: "S", TrialName: "T", Criteria: events.Criteria,
		Case: events.Case{ID: int32(worker*10 + i%10 + 1), Revision: 1}, Revision: 1,
		Name: events.Baseline, Subject: fmt.Sprint("subject-", worker*10+i%10+1), Effective: "2026-01-02",
		Lesions:    []events.Lesion{{ID: "T01", Category: "Target", Value: "12.50", Unit: "mm"}},
		Conclusion: "No",
	}
}

func killStudy(n int) string { return fmt.Sprint("KILL-", n) }

// TestNothingAcknowledgedIsLostWhenKilled kills the whole program while it
// signs, publishes and applies, again and again, and then compares everything
// that was acknowledged with outbox, stream and read model.
func TestNothingAcknowledgedIsLostWhenKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addKillPI(t, dir)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	acknowledged := make(map[string]uint64) // assessment id -> number of its event
	for round := range kills {
		killRound(t, dir, round, 1+random.IntN(killMaxSigned), acknowledged)
	}
	p, _ := startServer(t, dir)
	checkEverything(t, p, acknowledged)
}

func addKillPI(t *testing.T, dir string) {
	t.Helper()
	var studies []string
	for n := range killStudies {
		studies = append(studies, killStudy(n))
	}
	addPI(t, dir, "pi", studies...)
}

// killRound starts the program, reads so many acknowledgements, and kills it.
func killRound(t *testing.T, dir string, round, enough int, acknowledged map[string]uint64) {
	t.Helper()
	cmd := child(t, "signer", dir, strconv.Itoa(round))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ { // what was printed before the kill counts too
		id, sequence, _ := strings.Cut(lines.Text(), " ")
		number, err := strconv.ParseUint(sequence, 10, 64)
		if err != nil {
			continue // the line the kill cut off: nobody was told
		}
		acknowledged[id] = number
		if n == enough {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if complaints.Len() > 0 {
		t.Fatalf("round %d: %s", round, complaints.String())
	}
}

// checkEverything compares what was acknowledged with all that is stored.
func checkEverything(t *testing.T, p *server.Server, acknowledged map[string]uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.AwaitPublished(ctx, p.Outbox, p.Relay); err != nil {
		t.Fatal(err)
	}
	head, err := p.Outbox.Source().Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream := readStream(t, p, head.StreamSequence)
	if err := p.Model.WaitFor(ctx, head.StreamSequence); err != nil {
		t.Fatal(err)
	}
	recorded, err := p.Outbox.Source().Recorded(ctx, 1, int(head.StreamSequence)) // later ones are no part of this
	if err != nil {
		t.Fatal(err)
	}
	if len(recorded) != len(stream) {
		t.Fatalf("the outbox recorded %d events, the stream holds %d", len(recorded), len(stream))
	}
	published := make(map[string]uint64)
	for i, m := range stream {
		if r := recorded[i]; r.StreamSequence != m.StreamSequence || r.Event.ID != m.Event.ID || r.Event.Hash != m.Event.Hash {
			t.Errorf("stream sequence %d is not the event recorded at %d", m.StreamSequence, r.StreamSequence)
		}
		if id, _, ok := m.Event.ReportID(); ok && m.Event.Kind().Publishes() {
			if n, twice := published[id]; twice {
				t.Errorf("assessment %s is published as %d and as %d", id, n, m.Event.Number)
			}
			published[id] = m.Event.Number
			checkApplied(t, p, id, m.Event)
		}
	}
	for id, sequence := range acknowledged {
		if published[id] != sequence {
			t.Errorf("assessment %s was acknowledged as event %d, but is event %d of the stream", id, sequence, published[id])
		}
	}
	t.Logf("%d sign-offs acknowledged, %d published, %d events", len(acknowledged), len(published), len(stream))
	if len(acknowledged) < kills {
		t.Errorf("only %d sign-offs were acknowledged in %d rounds", len(acknowledged), kills)
	}
}

func checkApplied(t *testing.T, p *server.Server, id string, e events.Event) {
	t.Helper()
	report, err := p.Model.Report(t.Context(), id)
	if err != nil {
		t.Errorf("assessment %s is not in the read model: %v", id, err)
		return
	}
	if !report.Available || report.Version != e.Number || string(report.Body) != string(e.Data) {
		t.Errorf("the read model holds assessment %s as event %d, not byte for byte as event %d", id, report.Version, e.Number)
	}
}

// collector is a subscriber that keeps all it gets until it has enough. That
// numbers and hashes follow is checked before it gets them.
type collector struct {
	until    uint64
	progress stream.Progress
	messages []stream.Message
	enough   context.CancelFunc
}

func (c *collector) Resume(context.Context) (stream.Progress, error) { return c.progress, nil }

func (c *collector) Apply(_ context.Context, b stream.Batch) error {
	for _, m := range b.Messages {
		c.messages = append(c.messages, m)
		c.progress.ChainHeads[m.Event.Study] = m.Event.ChainHead()
	}
	if c.progress.Position = b.Position; b.Position.StreamSequence >= c.until {
		c.enough()
	}
	return nil
}

// readStream reads the first messages of the stream.
func readStream(t *testing.T, p *server.Server, until uint64) []stream.Message {
	t.Helper()
	nc, err := p.NATS.Connect(natsd.Reader)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := &collector{until: until, progress: stream.Progress{ChainHeads: map[string]events.ChainHead{}}, enough: cancel}
	if err := stream.NewReader(js, c, stream.Config{}).Run(ctx); err != nil {
		t.Fatal(err)
	}
	return c.messages[:min(uint64(len(c.messages)), until)] // the last batch may have more
}
