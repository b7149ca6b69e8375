package overview

import (
	"net/http"
	"time"
)

// Times of a stream.
const (
	lookAtMost   = time.Second     // between two events of a stream at least
	lookAtLeast  = 5 * time.Second // between two events at most: ages grow without a commit
	writeTimeout = 10 * time.Second
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

	w.Header().Set("Content-Type", "text/event-stream")
	// The server's limits are for requests that are answered at once.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Time{}) // without it, the stream only ends earlier
	send := func(text string) bool {
		if connection.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return false
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return false
		}
		return connection.Flush() == nil
	}
	if !send("retry: 3000\n\nevent: look\ndata:\n\n") {
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
		if !send("event: look\ndata:\n\n") {
			return
		}
		due = nil
		pause.Reset(lookAtMost)
		latest.Reset(lookAtLeast)
	}
}
