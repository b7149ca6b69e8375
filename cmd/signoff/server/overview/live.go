package overview

import (
	"net/http"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

// Times of a stream.
const (
	lookAtMost  = time.Second     // between two events of a stream at least
	lookAtLeast = 5 * time.Second // between two events at most: ages grow without a commit
)

// live answers with server-sent events. Each is a look: the page has to be fetched again,
// because the outbox has changed, or some seconds have passed. The connection ends with the
// client, when it does not read, and with Stop.
func (o *Overview) live(w http.ResponseWriter, r *http.Request) {
	select {
	case o.streams <- struct{}{}:
		defer func() { <-o.streams }()
	default:
		w.Header().Set("Retry-After", "15")
		http.Error(w, "too many pages follow the server; reload this one by hand", http.StatusServiceUnavailable)
		return
	}
	changed, stop := o.sources.Outbox.Watch()
	defer stop()

	stream := page.NewEventStream(w)
	defer stream.End()
	if !stream.Send("retry: 3000\n\nevent: look\ndata:\n\n") {
		return
	}
	pause, latest := time.NewTimer(lookAtMost), time.NewTimer(lookAtLeast)
	defer pause.Stop()
	defer latest.Stop()
	var due <-chan struct{} // changed, but nil during the pause after an event
	for {
		select {
		case <-r.Context().Done():
			return
		case <-o.stopped:
			return
		case <-pause.C:
			due = changed
			continue
		case <-due:
		case <-latest.C:
		}
		if !stream.Send("event: look\ndata:\n\n") {
			return
		}
		due = nil
		pause.Reset(lookAtMost)
		latest.Reset(lookAtLeast)
	}
}
