package subscriber_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// memoryFollower is a Follower that stores everything in memory and checks that it
// gets each event once and in order.
type memoryFollower struct {
	mu      sync.Mutex
	marks   map[string]subscriber.Bookmark
	got     map[string][]events.Event
	wrong   []error
	changed chan struct{}
	refuse  func(subscriber.Delivery) error // asked before anything is stored
}

func newMemoryFollower() *memoryFollower {
	return &memoryFollower{
		marks: make(map[string]subscriber.Bookmark), got: make(map[string][]events.Event), changed: make(chan struct{}, 1),
	}
}

func (r *memoryFollower) Resume(_ context.Context, study string) (subscriber.Bookmark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.marks[study], nil
}

func (r *memoryFollower) Handle(_ context.Context, d subscriber.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		if err := r.refuse(d); err != nil {
			return err
		}
	}
	e, err := events.FromCloudEvent(d.Event)
	if err != nil {
		return err
	}
	if d.Bookmark.Number != r.marks[d.Study].Number+1 || d.Bookmark.Hash != e.Hash || e.Kind() != d.Kind || !bytes.Equal(d.Report, e.Data) {
		r.wrong = append(r.wrong, fmt.Errorf("after %+v came %+v", r.marks[d.Study], d.Bookmark))
	}
	r.marks[d.Study] = d.Bookmark
	r.got[d.Study] = append(r.got[d.Study], e)
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return nil
}

func (r *memoryFollower) count(study string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got[study])
}

// wait returns when n events of the study are there.
func (r *memoryFollower) wait(t testing.TB, study string, n int) {
	t.Helper()
	limit := time.After(enough)
	for r.count(study) < n {
		select {
		case <-r.changed:
		case <-limit:
			t.Fatalf("%d of %d events of %s arrived", r.count(study), n, study)
		}
	}
}

// check fails unless exactly these events arrived, byte for byte.
func (r *memoryFollower) check(t testing.TB, study string, want []events.Event) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.wrong {
		t.Error(err)
	}
	if diff := cmp.Diff(want, r.got[study]); diff != "" {
		t.Error(diff)
	}
}

// follow starts to follow a study; the function that it returns stops that
// and returns what Follow returned.
func follow(t testing.TB, p *subscriber.Partner, study string, f subscriber.Follower) (stop func() error, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- p.Follow(ctx, study, f) }()
	t.Cleanup(cancel)
	return func() error { cancel(); return <-result }, result
}
