package page

import (
	"net/http"
	"time"
)

// streamWrite is how long a browser may take to receive one event.
const streamWrite = 10 * time.Second

// EventStream is an answer of server-sent events, which ends when its handler returns. The
// server's limits of time are for requests that are answered at once, so they do not end it.
type EventStream struct {
	w          http.ResponseWriter
	connection *http.ResponseController
}

// NewEventStream begins the answer. The handler must call End when the stream is over.
func NewEventStream(w http.ResponseWriter) EventStream {
	w.Header().Set("Content-Type", "text/event-stream")
	s := EventStream{w, http.NewResponseController(w)}
	_ = s.connection.SetReadDeadline(time.Time{}) // without it, the stream only ends earlier
	return s
}

// Send writes to the browser at once. It reports whether the stream goes on, which it does
// not for a browser that is gone or does not read.
//
// The limit of time ends with the event. Over HTTP/2 it would end a stream on which nothing
// is written, and over HTTP/1.1 the end of the answer could not be written after it.
func (s EventStream) Send(text string) bool {
	if s.connection.SetWriteDeadline(time.Now().Add(streamWrite)) != nil {
		return false
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return false
	}
	return s.connection.Flush() == nil && s.connection.SetWriteDeadline(time.Time{}) == nil
}

// End limits the time for the end of the answer, which the server writes after the handler.
func (s EventStream) End() { _ = s.connection.SetWriteDeadline(time.Now().Add(streamWrite)) }
