package rest

import (
	"errors"
	"io"
	"net/http"

	"github.com/seed-e88a4ece/signoff/events"
)

// ReadBody reads a request's body of at most limit bytes. For a larger body the
// error is TooLarge, and the connection is closed after the answer. For a body
// that ends early or arrives too slowly it is Invalid.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if over := new(http.MaxBytesError); errors.As(err, &over) {
		return nil, events.Errorf(events.TooLarge, "The body has more than %d bytes.", limit)
	}
	if err != nil {
		return nil, &events.Error{Code: events.Invalid, Message: "The body could not be read to its end.", Err: err}
	}
	return data, nil
}
