package rest

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/seed-e88a4ece/signoff/events"
)

// Wrap returns a handler that adds to h what every listener of the program
// needs: a request id, the access log, headers against caching and against
// guessing of media types, compression, and an OperationOutcome for a panic. A
// header that h sets replaces one that Wrap has set.
func Wrap(h http.Handler, log *slog.Logger) http.Handler {
	inner := compressed(recovered(h))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		x := &exchange{id: requestID(r)}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		w.Header().Set(requestIDHeader, x.id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		counted := &CountedWriter{ResponseWriter: w}
		defer func() { logAccess(log, r, x, counted, time.Since(began)) }()
		inner.ServeHTTP(counted, r)
	})
}

// compressed compresses answers from 1 KiB on with gzip, at the fastest level,
// for callers that accept it.
func compressed(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.EnableZstd(false), gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(err) // cannot happen: the options are constants
	}
	return wrap(h)
}

// recovered answers a panic of h with an OperationOutcome. If h has begun its answer,
// recovered aborts the connection instead, so that the caller does not take a part of
// the answer for the whole.
func recovered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &CountedWriter{ResponseWriter: w}
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) { // h asks net/http to abort
				panic(cause)
			}
			err := &events.Error{Code: events.Internal, Err: fmt.Errorf("panic: %v\n%s", cause, debug.Stack())}
			if counted.status != 0 {
				exchangeOf(r.Context()).failure = err
				panic(http.ErrAbortHandler)
			}
			WriteError(w, r, err)
		}()
		h.ServeHTTP(counted, r)
	})
}
