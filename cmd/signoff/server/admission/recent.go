package admission

import (
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// Recent is the read model of a process without an outbox. Such a process learns that
// access has ended from the stream alone. So it answers nobody once the stream was last
// heard too long ago.
type Recent struct {
	*readmodel.Model
	limit time.Duration
	clock func() time.Time
}

// NewRecent returns a Recent that answers until limit after the stream was last heard.
func NewRecent(m *readmodel.Model, limit time.Duration, clock func() time.Time) *Recent {
	return &Recent{Model: m, limit: limit, clock: clock}
}

// Withheld returns an Unavailable Error if the stream was last heard longer ago than the
// limit, else nil. HTTP answers it with 503, and logins are left unanswered meanwhile.
func (r *Recent) Withheld() error {
	heard := r.Status().Heard
	if !heard.IsZero() && r.clock().Sub(heard) <= r.limit {
		return nil
	}
	last := "not at all yet"
	if !heard.IsZero() {
		last = "at " + events.FormatTime(heard) + " last"
	}
	return unavailable("the stream was heard %s, and access may have ended since: nobody is answered %s after that", last, r.limit)
}
