package readmodel_test

import (
	"sync"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

func TestTheHeadOfAStudyIsKnownWithoutTheFile(t *testing.T) {
	b, path := newBroker(t), newPath(t)
	m := open(t, path, quiet)
	if head, known := m.Head("S1"); known {
		t.Errorf("before the model runs: %+v", head)
	}
	stop := follow(t, m, b.reader)
	one, two := &study{number: "S1"}, &study{number: "S2"}
	b.publish(append(one.many(20), two.many(3)...)...)
	b.publish(two.unknown("diagnosticreport.retracted.v1"))
	reaches(t, m, 24)
	end, err := m.ChainHead(t.Context(), "S1")
	if err != nil {
		t.Fatal(err)
	}
	head, known := m.Head("S1")
	if head.ChainHead != end || head.Number != 20 || !known {
		t.Errorf("got %+v, %t; the file has %+v", head, known, end)
	}
	if head, known := m.Head("S3"); (head.ChainHead != events.ChainHead{}) || !known {
		t.Errorf("of a study without events: %+v, %t", head, known)
	}
	if head, known := m.Head("S2"); known {
		t.Errorf("of an outdated study: %+v", head)
	}
	stop()
	if head, known := m.Head("S1"); known {
		t.Errorf("after the model has stopped: %+v", head)
	}

	t.Run("and changes with the derivation", func(t *testing.T) {
		alter(t, path, "update derivation set number = 99")
		m := open(t, path, quiet)
		if old, _ := m.Head("S1"); old.Derivation != 99 {
			t.Errorf("got %+v", old)
		}
		follow(t, m, b.reader)
		until(t, "the model is derived again", func() bool {
			now, known := m.Head("S1")
			return known && now == head
		})
	})
}

// What Search returns is never older than the head that was read before.
func TestASearchReflectsTheHeadThatWasReadBefore(t *testing.T) {
	b := newBroker(t)
	m := open(t, newPath(t), quiet)
	follow(t, m, b.reader)
	list := (&study{number: "S1"}).many(300)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for number := uint64(0); number < uint64(len(list)); {
				head, _ := m.Head("S1")
				page, err := m.Search(t.Context(), readmodel.Query{Study: "S1"})
				if err != nil || page.ChainHead.Number < head.Number || head.Number < number {
					t.Errorf("head %d after %d, then a page of %d: %v", head.Number, number, page.ChainHead.Number, err)
					return
				}
				number = head.Number
			}
		})
	}
	for rest := list; len(rest) > 0; rest = rest[min(10, len(rest)):] {
		b.publish(rest[:min(10, len(rest))]...)
	}
	readers.Wait()
}
