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

// logAccess writes the one line about a request. Query and headers are left
// out: credentials travel there. Of a refusal the line holds the cause, which
// the caller did not see; what the caller did see may quote the query.
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
	// Without the request's context: LogHandler would name its id again.
	log.LogAttrs(context.Background(), level, "request", attributes...)
}

// explain says how loudly a failure is to be logged, and what was behind it.
func explain(ctx context.Context, failure error) (slog.Level, string) {
	if _, a := refusal(failure); a.status >= http.StatusInternalServerError {
		if ctx.Err() != nil {
			return slog.LevelInfo, "the caller went away: " + failure.Error()
		}
		return slog.LevelError, failure.Error()
	}
	var e *events.Error
	if errors.As(failure, &e) && e.Err != nil {
		return slog.LevelInfo, e.Err.Error()
	}
	return slog.LevelInfo, ""
}
