package publisher_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
)

// box is an outbox in memory.
type box struct {
	t         testing.TB
	mu        sync.Mutex
	entries   []events.Entry // in commit order
	ordinals  []int          // indexes of entries by ordinal-1
	parked    map[string]string
	requested map[string]bool
	links     map[string]events.Link
	changed   chan struct{}
}

func newBox(t testing.TB) *box {
	return &box{t: t, parked: map[string]string{}, requested: map[string]bool{},
		links: map[string]events.Link{}, changed: make(chan struct{}, 1)}
}

// add commits n events of a study whose bodies have so many bytes.
func (b *box) add(study string, n, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		number := b.links[study].Sequence + 1
		body := fmt.Sprintf(`{"resourceType":"DiagnosticReport","id":"%d","text":"`, number)
		e := events.Event{
			ID:              uuid.Must(uuid.NewV7()).String(),
			Source:          events.DefaultNamespace.Source(study),
			Type:            events.DefaultNamespace.Type(events.ReportSigned),
			Subject:         events.ReportSubject(fmt.Sprint(number), number),
			Time:            time.Now().UTC().Truncate(time.Microsecond),
			DataContentType: events.MediaFHIR,
			Study:           study,
			PartitionKey:    study + "/1",
			Data:            []byte(body + strings.Repeat("x", max(0, bytes-len(body)-2)) + `"}`),
		}
		e.Seal(b.links[study])
		b.links[study] = e.Link()
		b.entries = append(b.entries, events.Entry{Row: int64(len(b.entries) + 1), Event: e})
	}
	b.wake()
}

func (b *box) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (b *box) Changed() <-chan struct{} { return b.changed }

func (b *box) Head(context.Context) (events.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ordinals) == 0 {
		return events.Entry{}, nil
	}
	return b.entries[b.ordinals[len(b.ordinals)-1]], nil
}

func (b *box) Pending(_ context.Context, limit int) ([]events.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var some []events.Entry
	for _, e := range b.entries {
		if _, parked := b.parked[e.Event.Study]; e.Ordinal == 0 && !parked && len(some) < limit {
			some = append(some, e)
		}
	}
	return some, nil
}

func (b *box) Recorded(_ context.Context, from uint64, limit int) ([]events.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var some []events.Entry
	for ; from <= uint64(len(b.ordinals)) && len(some) < limit; from++ {
		some = append(some, b.entries[b.ordinals[from-1]])
	}
	return some, nil
}

func (b *box) Record(_ context.Context, entries []events.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range entries {
		if e.Ordinal != uint64(len(b.ordinals)+i+1) || b.entries[e.Row-1].Ordinal != 0 {
			return events.Errorf(events.Conflict, "ordinal %d does not continue", e.Ordinal)
		}
	}
	for _, e := range entries {
		b.entries[e.Row-1].Ordinal = e.Ordinal
		b.ordinals = append(b.ordinals, int(e.Row-1))
	}
	return nil
}

func (b *box) Park(_ context.Context, study, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parked[study] = reason
	return nil
}

func (b *box) Release(context.Context) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.requested)
	maps.DeleteFunc(b.parked, func(study, _ string) bool { return b.requested[study] })
	clear(b.requested)
	return n, nil
}

func (b *box) requestRelease(study string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requested[study] = true
	b.wake()
}

// why gives the reason for which a study is parked.
func (b *box) why(study string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parked[study]
}

// published gives the entries with ordinals, in their order.
func (b *box) published() []events.Entry {
	all, _ := b.Recorded(context.Background(), 1, 1<<30)
	return all
}

// backup gives a copy as of now.
func (b *box) backup() *box {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := newBox(b.t)
	c.entries, c.ordinals = slices.Clone(b.entries), slices.Clone(b.ordinals)
	c.parked, c.links = maps.Clone(b.parked), maps.Clone(b.links)
	return c
}
