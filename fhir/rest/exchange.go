package rest

import (
	"context"
	"net/http"
	"regexp"

	"github.com/google/uuid"
)

// exchange is what the access log records of a request beside the request itself. Only
// the goroutine that serves the request may use it.
type exchange struct {
	id      string
	partner string
	failure error // from WriteError or SetFailure
}

type exchangeKey struct{}

// exchangeOf returns the exchange of the request to which ctx belongs. If Wrap does not
// serve that request, it returns a new one, which nobody reads.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return new(exchange)
}

// RequestID returns the id of the request to which ctx belongs, or "" if it
// belongs to none.
func RequestID(ctx context.Context) string { return exchangeOf(ctx).id }

// SetPartner sets the partner in the access log's line. Call it only after the
// partner has been authenticated.
func SetPartner(ctx context.Context, partner string) { exchangeOf(ctx).partner = partner }

// SetFailure sets the error in the access log's line, for a handler that does
// not answer with WriteError. The error is logged as that of WriteError: its cause,
// and its message only if the status is 500 or higher.
func SetFailure(ctx context.Context, err error) { exchangeOf(ctx).failure = err }

const requestIDHeader = "X-Request-Id"

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID returns the caller's request id if it is safe in a log, and a new
// one otherwise.
func requestID(r *http.Request) string {
	if id := r.Header.Get(requestIDHeader); requestIDForm.MatchString(id) {
		return id
	}
	return uuid.Must(uuid.NewV7()).String()
}
