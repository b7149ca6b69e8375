package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// watcher is the subscriber of the tour. It keeps all events in memory. The package
// subscriber/stream checks the number and the chain of each before it calls Apply.
type watcher struct {
	mu       sync.Mutex
	progress stream.Progress
	arrivals []arrival
	err      error         // of the subscription, once it has ended
	changed  chan struct{} // closed and replaced at every change
}

// arrival is an event and the time of its arrival.
type arrival struct {
	at       time.Time
	sequence uint64 // stream sequence
	event    events.Event
}

func newWatcher() *watcher {
	return &watcher{progress: stream.Progress{ChainHeads: map[string]events.ChainHead{}}, changed: make(chan struct{})}
}

// start subscribes and returns. Stop ends the subscription and waits until it has ended.
func (w *watcher) start(ctx context.Context, js jetstream.JetStream) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := stream.NewReader(js, w, stream.Config{}).Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
		w.wake()
	}()
	return func() { cancel(); <-done }
}

// Resume returns the position after the last event received.
func (w *watcher) Resume(context.Context) (stream.Progress, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress, nil
}

// Apply keeps the events.
func (w *watcher) Apply(_ context.Context, b stream.Batch) error {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range b.Messages {
		w.arrivals = append(w.arrivals, arrival{now, m.StreamSequence, m.Event})
		w.progress.ChainHeads[m.Event.Study] = m.Event.ChainHead()
	}
	w.progress.Position = b.Position
	w.wake()
	return nil
}

// wake wakes those that wait in until. The caller holds mu.
func (w *watcher) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits for the event with this id and returns it.
func (w *watcher) await(ctx context.Context, id string) (found arrival, err error) {
	err = w.until(ctx, "event "+id, func() bool {
		for i := len(w.arrivals) - 1; i >= 0; i-- {
			if w.arrivals[i].event.ID == id {
				found = w.arrivals[i]
				return true
			}
		}
		return false
	})
	return found, err
}

// awaitAll waits until the subscriber has as many events as are recorded. Then it returns
// an error that names the first difference, or nil.
func (w *watcher) awaitAll(ctx context.Context, recorded []events.Entry) error {
	err := w.until(ctx, "the last event", func() bool { return len(w.arrivals) >= len(recorded) })
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range recorded {
		if a := w.arrivals[i]; a.sequence != r.StreamSequence || a.event.Hash != r.Event.Hash {
			return fmt.Errorf("event %d of the stream is not the one that was recorded", r.StreamSequence)
		}
	}
	return nil
}

// until waits until holds returns true for what has arrived. It calls holds, with mu held,
// after each change. What names the thing that is waited for, for the error.
func (w *watcher) until(ctx context.Context, what string, holds func() bool) error {
	timeout := time.NewTimer(demoTimeout)
	defer timeout.Stop()
	for {
		w.mu.Lock()
		done, err, changed := holds(), w.err, w.changed
		w.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-timeout.C:
			return fmt.Errorf("%s did not arrive within %s", what, demoTimeout)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s did not arrive", what), context.Cause(ctx))
		}
	}
}

// reports returns the bodies of a study's available reports, by id: those that were
// published and not withdrawn or superseded since.
func (w *watcher) reports(study string) map[string][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	available := make(map[string][]byte)
	for _, a := range w.arrivals {
		id, _, ok := a.event.ReportID()
		switch {
		case !ok || a.event.Study != events.StudyKey(study):
		case a.event.Kind().Publishes():
			available[id] = a.event.Data
		default: // withdrawn or superseded
			delete(available, id)
		}
	}
	return available
}

// available returns the number of a study's available reports.
func (w *watcher) available(study string) int { return len(w.reports(study)) }

// missing returns a message about a report that the page does not contain byte for byte, or
// "".
func (w *watcher) missing(study string, page []byte) string {
	for id, body := range w.reports(study) {
		if !bytes.Contains(page, body) {
			return fmt.Sprintf("the page of %s does not hold report %s as it was signed", study, id)
		}
	}
	return ""
}

// describe returns a summary of a page, for the output. That its reports are the same byte
// for byte is checked by missing.
func describe(page []byte) string {
	var p struct{ Entry []json.RawMessage }
	_ = json.Unmarshal(page, &p) // the page was read before
	return fmt.Sprintf("%s in %d bytes, each byte for byte as in its event", console.Plural(len(p.Entry), "report"), len(page))
}

// summary returns the id, name and conclusion of a report.
func summary(report []byte) string {
	index, err := fhir.ParseIndex(report)
	if err != nil {
		return "an unreadable report"
	}
	conclusion := index.Conclusion
	if index.Name == events.Baseline && conclusion == "No" {
		conclusion = "no response yet"
	}
	return fmt.Sprintf("%s  %s, %s", index.ID, index.Name, conclusion)
}
