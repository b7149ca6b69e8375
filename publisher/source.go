package publisher

import (
	"context"

	"github.com/seed-e88a4ece/signoff/events"
)

// Source is the outbox as the relay sees it. Entries come with their events
// whole; ordinals start at 1 and have no gaps.
type Source interface {
	// Head returns the entry with the highest ordinal; the zero Entry if none has one.
	Head(ctx context.Context) (events.Entry, error)

	// Pending returns at most limit entries without ordinal, in commit order,
	// those of parked studies left out.
	Pending(ctx context.Context, limit int) ([]events.Entry, error)

	// Recorded returns at most limit entries with ordinals from the one given
	// on, in their order.
	Recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error)

	// Record stores the ordinals of entries, which must continue Head without
	// a gap; else the error is a Conflict and nothing is stored.
	Record(ctx context.Context, entries []events.Entry) error

	// Park leaves a study's entries out of Pending until it is released. The
	// study is named by its token.
	Park(ctx context.Context, study, reason string) error

	// Release commits the releases of studies that were asked for, and returns
	// how many there were. As long as anything is pending there are none.
	Release(ctx context.Context) (int, error)

	// Changed receives when there may be something new in Pending or to Release.
	Changed() <-chan struct{}
}
