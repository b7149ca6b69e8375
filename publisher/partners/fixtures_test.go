package partners_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// directory is a directory that a test changes, in the place of the read model.
type directory struct {
	mu      sync.Mutex
	d       access.Directory
	behind  bool  // it does not hold all that is in the stream
	why     error // what Withheld returns
	changed chan struct{}
}

func (b *directory) Directory() access.Directory {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.d
}

func (b *directory) Changed() <-chan struct{} { return b.changed }

func (b *directory) Withheld() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}

// withhold has Withheld return why.
func (b *directory) withhold(why error) {
	b.change(func(d access.Directory) access.Directory {
		b.why = why
		return d
	})
}

func (b *directory) WaitFor(ctx context.Context, _ uint64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for b.lags() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

func (b *directory) lags() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.behind
}

func (b *directory) lag(behind bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.behind = behind
}

func (b *directory) change(fn func(access.Directory) access.Directory) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.d = fn(b.d)
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// receipts keeps receipts, in the place of the outbox.
type receipts struct {
	mu    sync.Mutex
	kept  map[string]events.Receipt
	asked func() // called before they are returned; nil: nothing is
}

func (l *receipts) NoteReceipts(_ context.Context, receipts []events.Receipt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range receipts {
		l.kept[r.Partner+" "+r.Study] = r
	}
	return nil
}

func (l *receipts) Receipts(context.Context) ([]events.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked != nil {
		l.asked()
	}
	return slices.Collect(maps.Values(l.kept)), nil
}

func (l *receipts) of(partner, study string) events.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept[partner+" "+study]
}
