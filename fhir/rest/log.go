package rest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// logAccess writes the line about a request. It leaves out the query and the
// headers, which may contain credentials. For an error it contains the cause,
// which the answer does not, and not the message, which may quote the query.
func logAccess(log *slog.Logger, r *http.Request, x *exchange, w *CountedWriter, took time.Duration) {
	status := cmp.Or(w.status, http.StatusOK)
	attributes := []slog.Attr{
		slog.String(requestIDAttribute, x.id),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("duration", took),
	}
	if x.partner != "" {
		attributes = append(attributes, slog.String("partner", x.partner))
	}
	level := slog.LevelInfo
	if x.failure != nil {
		var cause string
		level, cause = explain(r.Context(), x.failure)
		attributes = append(attributes, slog.String("code", string(events.CodeOf(x.failure))))
		if cause != "" {
			attributes = append(attributes, slog.String("cause", cause))
		}
	}
	// With the request's context LogHandler would add the id a second time.
	log.LogAttrs(context.Background(), level, "request", attributes...)
}

// explain returns the level at which an error is logged, and its cause. An internal error
// is most likely a consequence where the caller has gone, so it is not an error then.
func explain(ctx context.Context, failure error) (slog.Level, string) {
	if _, a := refusal(failure); a.status >= http.StatusInternalServerError {
		if ctx.Err() != nil {
			return slog.LevelInfo, "the caller has gone: " + failure.Error()
		}
		return slog.LevelError, failure.Error()
	}
	var e *events.Error
	if errors.As(failure, &e) && e.Err != nil {
		return slog.LevelInfo, e.Err.Error()
	}
	return slog.LevelInfo, ""
}
