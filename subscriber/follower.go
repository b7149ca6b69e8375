package subscriber

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/seed-e88a4ece/signoff/events"
)

// Follower handles the events of a study, in order and each once, and stores how
// far it has come. Its methods are called one at a time for each study.
type Follower interface {
	// Resume returns the Bookmark that was stored last for the study; the zero
	// Bookmark if there is none. It is called when following begins, after
	// ErrMoved, and when following begins again after an interruption.
	Resume(ctx context.Context, study string) (Bookmark, error)

	// Handle handles the next event. It must store what it makes of it and the
	// Bookmark of d together or not at all, and then return nil: only after
	// that is the event acknowledged. If the stored Bookmark is not the one
	// before that of d, because another process has moved it, it returns
	// ErrMoved. Any other error ends Follow.
	Handle(ctx context.Context, d Delivery) error
}

// Delivery is an event of the study. It was verified that it belongs to the study,
// is unaltered and directly follows the one before.
//
// Its Kind may be one that this version does not know, because the publisher is
// newer. If the Kind is optional, the event may be skipped. If it NeedsNewer, it
// may revoke what earlier events said: use nothing of the study until a newer
// version has read it.
type Delivery struct {
	Study    string      // as passed to Follow
	Event    event.Event // with Report as its data
	Report   []byte      // FHIR JSON as signed: a DiagnosticReport, or the Bundle of its Observations; of an unknown kind the body
	Kind     events.Kind // see events.Kind.Known and NeedsNewer
	Bookmark Bookmark
	Pending  uint64 // events of the study that were stored behind it when it was sent
}

// Grant returns which study an event of FollowAccess grants or revokes. For any
// other event it returns an error with the code events.Invalid.
func (d Delivery) Grant() (events.Grant, error) {
	e, err := events.FromCloudEvent(d.Event)
	if err != nil {
		return events.Grant{}, err
	}
	return e.Grant()
}
