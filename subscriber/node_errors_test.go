package subscriber_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestNodeTellsWhatIsWrong(t *testing.T) {
	needNode(t)

	published := func(t *testing.T, change func(list []events.Event) []events.Event) *partnerServer {
		t.Helper()
		d, s := newServer(t, "S1"), &study{key: "S1"}
		publish(t, d, change(s.take(4))...)
		return d
	}
	for code, change := range map[string]func(list []events.Event) []events.Event{
		"gap":     func(l []events.Event) []events.Event { return []events.Event{l[0], l[1], l[3]} },
		"repeat":  func(l []events.Event) []events.Event { return []events.Event{l[0], l[1], l[1]} },
		"reorder": func(l []events.Event) []events.Event { return []events.Event{l[0], l[1], l[0]} },
		"altered": func(l []events.Event) []events.Event { l[2].Data = []byte("{}"); return l },
		"invalid": func(l []events.Event) []events.Event { l[2].ID = "with space"; l[2].Hash = l[2].Digest(); return l },
	} {
		t.Run("events on the log: "+code, func(t *testing.T) {
			r := startNode(t, published(t, change), nil)
			r.take(2)
			r.ends(code)
		})
	}

	t.Run("a position on another chain", func(t *testing.T) {
		position := map[string]any{"sequence": events.FormatNumber(2), "hash": strings.Repeat("f", 64), "stream": 2}
		d := published(t, func(l []events.Event) []events.Event { return l })
		startNode(t, d, map[string]any{"position": position}).ends("altered")
	})
	t.Run("events that another reader acknowledged", func(t *testing.T) {
		d := published(t, func(l []events.Event) []events.Event { return l })
		for _, m := range fetch(t, d, 2) {
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		startNode(t, d, nil).ends("gap")
	})
}

// at is a position as node/test/reader.js prints it.
func at(e events.Event, place uint64) map[string]any {
	return map[string]any{"patience": 200, "position": map[string]any{"sequence": events.FormatNumber(e.Number), "hash": e.Hash, "stream": place}}
}

func TestNodeRefusesAPositionOfAnotherLog(t *testing.T) {
	needNode(t)
	for _, c := range contradictions() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newServer(t, "S1")
			c.log(t, d)
			says := c.says
			for range 2 { // it is the same after a restart, but what comes again may come in another order
				end := startNode(t, d, at(c.stored, c.place)).next()
				c.wanted(t, events.Errorf(events.Code(end.Ended), "%s", end.Message), says...)
				says = nil
			}
			wantLeft(t, d, c.left)
		})
	}
}

func TestNodeAcceptsAPositionThatNothingContradicts(t *testing.T) {
	needNode(t)
	for name, log := range agreements {
		t.Run(name, func(t *testing.T) {
			d, s := newServer(t, "S1"), &study{key: "S1"}
			whole := s.take(8)
			log(t, d, whole)
			r := startNode(t, d, at(whole[7], 8))
			for line := r.line(); line.Outage == nil || *line.Outage != ""; line = r.line() { // until it has begun
				if line.Ended != "" {
					t.Fatalf("ended: %s, %s", line.Ended, line.Message)
				}
			}
			more := s.take(3)
			publish(t, d, more...)
			compareNode(t, more, r.take(3))
			waitUntil(t, d, func(i *jetstream.ConsumerInfo) bool { return i.NumPending == 0 && i.NumAckPending == 0 })
			r.stop()
		})
	}
}

func TestNodeNoticesThatAnOlderLogWasRestoredBeneathIt(t *testing.T) {
	needNode(t)
	for name, goesOn := range restorations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, s := newServer(t, "S1"), &study{key: "S1"}
			r := startNode(t, d, nil)
			publish(t, d, s.take(4)...)
			r.take(4)
			signed := restoreBeneath(t, d, s, func() { r.take(5) }, goesOn.by)
			end := r.next()
			if !goesOn.is(events.Code(end.Ended)) {
				t.Errorf("ended: %s, %s", end.Ended, end.Message)
			}
			wantLeft(t, d, signed)
		})
	}
}

func TestNodeRefusesAMalformedPosition(t *testing.T) {
	needNode(t)
	d := newServer(t, "S1")
	list := (&study{key: "S1"}).take(3)
	publish(t, d, list...)
	for name, change := range map[string]func(e *events.Event){
		"a number without a hash": func(e *events.Event) { e.Hash = "" },
		"a hash without a number": func(e *events.Event) { e.Number = 0 },
		"a hash that is cut":      func(e *events.Event) { e.Hash = e.Hash[:63] },
		"a hash in capitals":      func(e *events.Event) { e.Hash = strings.Repeat("A", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			e := list[2]
			change(&e)
			startNode(t, d, at(e, 3)).ends("TypeError")
		})
	}
	wantLeft(t, d, list)
}

func TestNodeIsToldThatAccessEnded(t *testing.T) {
	needNode(t)

	reading := func(t *testing.T) (*partnerServer, *nodeReader) {
		t.Helper()
		d := newServer(t, "S1", "S2")
		publish(t, d, (&study{key: "S1"}).take(2)...)
		r := startNode(t, d, nil)
		r.take(2)
		return d, r
	}
	t.Run("when the study is revoked", func(t *testing.T) {
		d, r := reading(t)
		d.revoke(t, "S1")
		r.ends("access-ended")
	})
	t.Run("when its consumer is deleted and nothing else happens", func(t *testing.T) {
		d, r := reading(t)
		d.deleteConsumer(t, "S1")
		r.ends("access-ended")
	})
	t.Run("when the partner is removed", func(t *testing.T) {
		d, r := reading(t)
		d.change(func() { clear(d.tokens); d.secret = "another" })
		d.disconnect()
		r.ends("access-ended")
	})
	t.Run("when its secret is wrong", func(t *testing.T) {
		startNode(t, newServer(t, "S1"), map[string]any{"clientSecret": "wrong"}).ends("access-ended")
	})
	t.Run("when the study was never granted, by name and without a word of outages", func(t *testing.T) {
		end := startNode(t, newServer(t, "S1"), map[string]any{"study": "S3", "patience": 60_000}).line()
		if end.Ended != "access-ended" || !strings.Contains(end.Message, "study S3 is not granted to acme") {
			t.Errorf("%+v", end)
		}
	})
	t.Run("but not while nobody answers for the consumer", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		want := s.take(2)
		publish(t, d, want[0])
		r := startNode(t, d, map[string]any{"patience": 1})
		got := r.take(1)
		d.stop()
		d.apart = "S1"
		start(t, d)
		for n := 0; n < 3; {
			line := r.line()
			if line.Outage == nil {
				t.Fatalf("%+v", line)
			}
			if strings.Contains(*line.Outage, "jetstream is not enabled") { // so the client calls that nobody answers
				n++
			}
		}
		d.stop()
		d.apart = ""
		start(t, d)
		publish(t, d, want[1])
		got = append(got, r.take(1)...)
		r.stop()
		compareNode(t, want, got)
	})
	t.Run("but not while its consumer is recreated", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		want := s.take(2)
		publish(t, d, want[0])
		r := startNode(t, d, map[string]any{"patience": 60_000})
		got := r.take(1)
		d.deleteConsumer(t, "S1")
		for line := r.line(); line.Outage == nil || *line.Outage == ""; line = r.line() {
		}
		if err := d.consumer("S1", nil); err != nil {
			t.Fatal(err)
		}
		publish(t, d, want[1])
		got = append(got, r.take(1)...)
		r.stop()
		compareNode(t, want, got)
	})
	t.Run("but not while another study is revoked", func(t *testing.T) {
		d, s := newServer(t, "S1", "S2"), &study{key: "S1"}
		want := s.take(20)
		publish(t, d, want[:10]...)
		r := startNode(t, d, nil)
		got := r.take(10)
		d.revoke(t, "S2")
		publish(t, d, want[10:]...)
		got = append(got, r.take(10)...)
		r.stop()
		compareNode(t, want, got)
	})
}
