package rest

import (
	"context"
	"net/http"
	"regexp"

	"github.com/google/uuid"
)

// exchange is what is known of a request while it is served. It belongs to
// the goroutine that serves it.
type exchange struct {
	id      string
	partner string
	failure error // what WriteError answered
}

type exchangeKey struct{}

// exchangeOf returns the exchange that Wrap began; outside of one, a new one that
// nobody will look at.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return new(exchange)
}

// RequestID returns the id of the request that ctx belongs to, empty outside of
// one.
func RequestID(ctx context.Context) string { return exchangeOf(ctx).id }

// SetPartner notes, for the access log, on whose behalf the request is made.
// Call it once that is proven.
func SetPartner(ctx context.Context, partner string) { exchangeOf(ctx).partner = partner }

// SetFailure notes, for the access log, why the request is refused. It is for
// who answers in another form than WriteError's. The cause of a refusal is
// logged, its message is not.
func SetFailure(ctx context.Context, err error) { exchangeOf(ctx).failure = err }

const requestIDHeader = "X-Request-Id"

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID takes the id that the caller gave the request, if it is harmless
// in a log, or makes one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(requestIDHeader); requestIDForm.MatchString(id) {
		return id
	}
	return uuid.Must(uuid.NewV7()).String()
}
