package publisher

import (
	"context"

	"github.com/seed-e88a4ece/signoff/events"
)

// SourceReader reads an outbox. Entries come with their whole events. An entry with a
// stream sequence is recorded, any other is pending. Stream sequences start at 1 and have
// no gaps.
type SourceReader interface {
	// Head returns the entry with the highest stream sequence, or the zero Entry if nothing
	// is recorded.
	Head(ctx context.Context) (events.Entry, error)

	// Pending returns at most limit pending entries in commit order, without those of
	// parked studies.
	Pending(ctx context.Context, limit int) ([]events.Entry, error)

	// Recorded returns at most limit recorded entries in the order of their stream
	// sequences, from the given one on.
	Recorded(ctx context.Context, from uint64, limit int) ([]events.Entry, error)
}

// Source is the outbox as the relay sees it.
type Source interface {
	SourceReader

	// Record stores the stream sequences of entries. They must continue that of Head
	// without a gap; otherwise it returns a Conflict Error and stores nothing.
	Record(ctx context.Context, entries []events.Entry) error

	// Park leaves the entries of a study out of Pending until the study is released.
	// The study is given by its study key.
	Park(ctx context.Context, study, reason string) error

	// Release releases the parked studies for which that was requested, and returns
	// their number. As long as Pending returns entries it releases none.
	Release(ctx context.Context) (int, error)

	// Changed returns a channel that receives when Pending or Release may have
	// something new to return.
	Changed() <-chan struct{}
}
