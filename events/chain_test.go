package events_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

// anyChain draws a whole chain of at least two events.
func anyChain(t *rapid.T) []events.Event {
	chain := rapid.SliceOfN(anyEvent(), 2, 8).Draw(t, "chain")
	var end events.ChainHead
	for i := range chain {
		chain[i].Study = "S"
		chain[i].Seal(end)
		end = chain[i].ChainHead()
	}
	return chain
}

// follow returns how many events were accepted, and why the next was not.
func follow(chain []events.Event) (int, error) {
	var head events.ChainHead
	for i, e := range chain {
		var err error
		if head, err = head.Follow(e); err != nil {
			return i, err
		}
	}
	return len(chain), nil
}

func TestAnUnbrokenChainIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chain := anyChain(t)
		if n, err := follow(chain); err != nil {
			t.Fatalf("event %d of %d: %v", n+1, len(chain), err)
		}
	})
}

func TestAMissingRepeatedOrMovedEventIsNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chain := anyChain(t)
		i := rapid.IntRange(0, len(chain)-2).Draw(t, "place")
		damage := rapid.SampledFrom([]string{"drop", "repeat", "swap"}).Draw(t, "damage")
		got, want := append([]events.Event(nil), chain[:i]...), events.Gap
		switch damage {
		case "drop":
			got = append(got, chain[i+1:]...)
		case "repeat":
			got, want = append(append(got, chain[i]), chain[i:]...), events.Repeat
		case "swap":
			got = append(append(got, chain[i+1], chain[i]), chain[i+2:]...)
		}
		if _, err := follow(got); events.CodeOf(err) != want {
			t.Fatalf("%s at %d of %d returns %v, want %s", damage, i, len(chain), err, want)
		}
	})
}

func TestAnAlteredEventIsNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chain := anyChain(t)
		i := rapid.IntRange(0, len(chain)-1).Draw(t, "place")
		e := chain[i]
		e.Data = append([]byte(nil), e.Data...)
		bit := rapid.IntRange(0, len(e.Data)*8-1).Draw(t, "bit")
		e.Data[bit/8] ^= 1 << (bit % 8)
		chain[i] = e
		if n, err := follow(chain); n != i || events.CodeOf(err) != events.Altered {
			t.Fatalf("event %d returns %v; want event %d altered", n, err, i)
		}
	})
}

// The replacement carries a right hash of its own, so only the events around
// it show that it does not belong here.
func TestAReplacedEventIsNoticedByItsSuccessor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chain := anyChain(t)
		i := rapid.IntRange(0, len(chain)-2).Draw(t, "place")
		var before events.ChainHead
		if i > 0 {
			before = chain[i-1].ChainHead()
		}
		replaced := chain[i]
		replaced.Data = append([]byte("{}"), replaced.Data...)
		replaced.Seal(before)
		chain[i] = replaced
		if n, err := follow(chain); n != i+1 || events.CodeOf(err) != events.Altered {
			t.Fatalf("event %d returns %v; want event %d altered", n, err, i+1)
		}
	})
}

func TestSequenceTexts(t *testing.T) {
	t.Run("the order of texts is the order of numbers", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
			if (a < b) != (events.FormatNumber(a) < events.FormatNumber(b)) {
				t.Fatalf("%s and %s", events.FormatNumber(a), events.FormatNumber(b))
			}
			if n, err := events.ParseNumber(events.FormatNumber(a)); err != nil || n != a {
				t.Fatalf("%d comes back as %d, %v", a, n, err)
			}
		})
	})
	t.Run("both ends have 20 digits", func(t *testing.T) {
		for n, want := range map[uint64]string{0: "00000000000000000000", 7: "00000000000000000007", math.MaxUint64: "18446744073709551615"} {
			if got := events.FormatNumber(n); got != want {
				t.Errorf("%d is %s, want %s", n, got, want)
			}
		}
	})
	t.Run("anything else is refused", func(t *testing.T) {
		for _, text := range []string{"", "1", "0000000000000000001", "000000000000000000001", "+0000000000000000001", "-0000000000000000001", " 0000000000000000001", "99999999999999999999", "0000000000000000000a", "٠٠٠٠٠٠٠٠٠٠"} {
			if _, err := events.ParseNumber(text); events.CodeOf(err) != events.Invalid {
				t.Errorf("%q returns %v", text, err)
			}
		}
	})
}
