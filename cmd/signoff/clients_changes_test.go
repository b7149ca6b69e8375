package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// A poller that asks at random moments while a study changes 2,000 times ends with what a
// subscriber has.
func TestAPollerEndsWithWhatASubscriberHas(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	changer := newStudyChanger(t, p)
	_, secret := newPartnerWithSecret(t, p, "subscriber", polledStudy)
	state := &subscriberState{state: newState(), news: make(chan struct{}, 1)}
	awaitSubscriber := state.follow(t, p, "subscriber", secret)

	client, _ := newPartnerWithSecret(t, p, "poller", polledStudy)
	poller := poller{get: netHTTP("poller", client.token), base: p.PublicURL() + p.Settings.BasePath, study: polledStudy}
	c := newPollingClient(t, "poller")
	c.exact, c.got.Followed = true, newState()
	moments := make(chan struct{}, 1) // at which the poller asks
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); <-c.done })
	go func() {
		defer close(c.done)
		for range moments {
			if c.err = poller.follow(ctx, &c.got.Followed); c.err != nil {
				return
			}
			c.countRound()
		}
		if c.err = poller.follow(ctx, &c.got.Followed); c.err == nil {
			c.got.Walked, c.err = poller.walk(ctx)
		}
	}()
	const rounds = 5 // at least
	for n := range 2000 {
		changer.change()
		if changer.random.IntN(20) == 0 || n%(2000/rounds) == 0 {
			select {
			case moments <- struct{}{}:
			default: // it is still asking
			}
		}
		if n%(2000/rounds) == 0 { // else a slow one asks only once
			c.await(t, time.After(patience))
		}
	}
	changer.finish()
	head, err := p.Outbox.ChainHead(t.Context(), polledStudy)
	if err != nil {
		t.Fatal(err)
	}
	awaitCaughtUp(t, p)
	close(moments)
	c.compare(t, awaitSubscriber(head.Number))
	t.Logf("%d rounds, %d events", c.rounds.Load(), head.Number)
	if c.rounds.Load() < rounds {
		t.Errorf("the poller asked only %d times", c.rounds.Load())
	}
}

// vectorChain is a chain of the published vectors, without what a poller does not need.
type vectorChain struct {
	Name  string
	After struct {
		Sequence, Hash string
	}
	Accepted *int // events that continue the chain; nil: all
	Events   []struct {
		Headers map[string]string
		Body    string
	}
}

// The poller of these tests accepts the published chains, and of those that are broken
// just what continues the chain. It gets each event as an entry of history.
func TestThePollerVerifiesThePublishedVectors(t *testing.T) {
	covered := strings.Fields("id source type subject time datacontenttype study sequence partitionkey previoushash datadigest")
	for _, file := range []string{"chain.json", "chain-broken.json"} {
		data, err := os.ReadFile("../../events/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var vectors struct{ Chains []vectorChain }
		if err := json.Unmarshal(data, &vectors); err != nil {
			t.Fatal(err)
		}
		if len(vectors.Chains) < 10 {
			t.Errorf("%s has %d chains", file, len(vectors.Chains))
		}
		for _, chain := range vectors.Chains {
			t.Run(chain.Name, func(t *testing.T) {
				s := newState()
				if s.Number, err = events.ParseNumber(chain.After.Sequence); err != nil {
					t.Fatal(err)
				}
				s.Hash = chain.After.Hash
				accepted := 0
				for _, e := range chain.Events {
					e.Headers["ce-datadigest"] = digest([]byte(e.Body))
					var attributes []attribute
					for _, name := range append(covered, "hash") {
						attributes = append(attributes, attribute{name, e.Headers["ce-"+name]})
					}
					if err := s.apply(polledEntry{Extension: []struct{ Extension []attribute }{{attributes}}}); err != nil {
						break
					}
					accepted++
				}
				want := len(chain.Events)
				if chain.Accepted != nil {
					want = *chain.Accepted
				}
				if accepted != want {
					t.Errorf("accepted %d of %d events, want %d", accepted, len(chain.Events), want)
				}
			})
		}
	}
}
