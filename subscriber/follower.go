package subscriber

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/seed-e88a4ece/signoff/events"
)

// Follower takes the events of a study, in order and each once, and keeps how
// far it is. Its methods are called one at a time for each study.
type Follower interface {
	// Resume returns the Bookmark that was stored last for the study; the zero
	// Bookmark if there is none. It is asked for when following begins, and
	// again after ErrMoved or a new start of the broker's consumer.
	Resume(ctx context.Context, study string) (Bookmark, error)

	// Handle takes the next event. It must store what it makes of it and the
	// Bookmark of d together or not at all, and then return nil: only after
	// that is the event acknowledged. If the stored Bookmark is not the one
	// before that of d, because another process has moved it, it returns
	// ErrMoved. Any other error ends Follow.
	Handle(ctx context.Context, d Delivery) error
}

// Delivery is an event of the study. That it belongs to the study, is
// unaltered and directly follows the one before has been checked.
//
// Its Kind may be one that this version does not know, because the publisher is
// newer. If the Kind is optional, the event may be passed over. If it
// NeedsNewer, it may take back what was told before: use nothing of the study
// until a newer version has read it.
type Delivery struct {
	Study    string      // as given to Follow
	Event    event.Event // with Report as its data
	Report   []byte      // FHIR JSON as signed: a DiagnosticReport, or the Bundle of its Observations; of an unknown kind the body
	Kind     events.Kind // see events.Kind.Known and NeedsNewer
	Bookmark Bookmark
	Pending  uint64 // events of the study that were stored behind it when it was sent
}

// Grant reads which study was granted or revoked from an event of
// FollowAccess. It is an error with the code events.Invalid for any other.
func (d Delivery) Grant() (events.Grant, error) {
	e, err := events.FromCloudEvent(d.Event)
	if err != nil {
		return events.Grant{}, err
	}
	return e.Grant()
}
