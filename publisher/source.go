package publisher

import (
	"context"

	"github.com/seed-e88a4ece/signoff/events"
)

// SourceReader reads an outbox. Entries come with their whole events. An entry is recorded
// once it has a stream sequence, else pending; stream sequences start at 1 and have no gaps.
type SourceReader interface {
	// Head returns the entry with the highest stream sequence; the zero Entry if none has one.
	Head(ctx context.Context) (events.Entry, error)

	// Pending returns at most limit pending entries in commit order, without those of
	// parked studies.
	Pending(ctx context.Context, limit int) ([]events.Entry, error)

	// Recorded returns at most limit recorded entries, from a stream sequence on, in
	// their order.
	Recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error)
}

// Source is the outbox as the relay sees it.
type Source interface {
	SourceReader

	// Record stores the stream sequences of entries, which must continue Head without
	// a gap; else the error is a Conflict and nothing is stored.
	Record(ctx context.Context, entries []events.Entry) error

	// Park leaves a study's entries out of Pending until it is released. The
	// study is named by its key.
	Park(ctx context.Context, study, reason string) error

	// Release commits the releases of studies that were asked for, and returns
	// how many there were. As long as anything is pending there are none.
	Release(ctx context.Context) (int, error)

	// Changed receives when there may be something new in Pending or to Release.
	Changed() <-chan struct{}
}
