package outbox_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

func TestDiskFull(t *testing.T) {
	d := newOutbox(t)
	const reports = 200
	var assessments []events.Assessment
	for i := range int32(reports) {
		assessments = append(assessments, withLesions(assessment(fmt.Sprint(i), i+1, 1, 1), "T01", "T02", "T03"))
	}
	d.register(assessments...)
	var pages int
	writer := d.DB().Writer
	ok(t, writer.Get(&pages, "pragma page_count"))
	_, err := writer.Exec(fmt.Sprintf("pragma max_page_count = %d", pages+100)) // SQLite then says that the disk is full
	ok(t, err)

	var mu sync.Mutex
	acknowledged := map[string]string{}
	refused := 0
	var wg sync.WaitGroup
	for _, a := range assessments {
		wg.Go(func() {
			answers, err := d.signAs("dr.a", a.ID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				acknowledged[a.ID] = answers[0].Event
				return
			}
			refused++
			wantUnavailable(t, err)
		})
	}
	wg.Wait()
	if refused == 0 {
		t.Fatal("the disk had space for all")
	}
	t.Run("keeps what was acknowledged, and nothing else", func(t *testing.T) {
		log := all(t, d.Outbox)
		follow(t, log)
		if len(log) != 2*len(acknowledged) {
			t.Errorf("%d events of %d acknowledged sign-offs", len(log), len(acknowledged))
		}
	})
	t.Run("goes on when the disk has space again", func(t *testing.T) {
		_, err := writer.Exec("pragma max_page_count = 1000000")
		ok(t, err)
		for _, a := range assessments {
			answer := d.sign(a.ID)[0]
			if first, before := acknowledged[a.ID]; before && first != answer.Event {
				t.Errorf("assessment %s was signed twice", a.ID)
			}
		}
		log := all(t, d.Outbox)
		follow(t, log)
		if len(log) != 2*reports {
			t.Errorf("%d events", len(log))
		}
	})
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	if events.CodeOf(err) != events.Unavailable {
		t.Errorf("%v is not unavailable", err)
	}
}
