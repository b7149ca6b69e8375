package subscriber_test

import (
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestNodeTellsWhatIsWrong(t *testing.T) {
	needNode(t)

	published := func(t *testing.T, change func(list []events.Event) []events.Event) *door {
		t.Helper()
		d, s := newDoor(t, "S1"), &study{token: "S1"}
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
		position := map[string]any{"sequence": events.FormatSequence(2), "hash": strings.Repeat("f", 64), "stream": 2}
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

func TestNodeIsToldThatAccessEnded(t *testing.T) {
	needNode(t)

	reading := func(t *testing.T) (*door, *nodeReader) {
		t.Helper()
		d := newDoor(t, "S1", "S2")
		publish(t, d, (&study{token: "S1"}).take(2)...)
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
		d.kick()
		r.ends("access-ended")
	})
	t.Run("when its secret is wrong", func(t *testing.T) {
		startNode(t, newDoor(t, "S1"), map[string]any{"clientSecret": "wrong"}).ends("access-ended")
	})
	t.Run("when the study was never granted", func(t *testing.T) {
		startNode(t, newDoor(t, "S1"), map[string]any{"study": "S3"}).ends("access-ended")
	})
	t.Run("but not while another study is revoked", func(t *testing.T) {
		d, s := newDoor(t, "S1", "S2"), &study{token: "S1"}
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
