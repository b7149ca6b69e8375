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

// logAccess writes the line about a request to the access log. It leaves out the query
// and the headers, which may contain credentials. For an error with a status below
// 500 it logs the cause but not the message, which may quote the query. For another
// error it logs the whole text.
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

// explain returns the level at which an error is logged, and its cause. An error with
// status 500 or higher has the level Error. Its level is Info if the request was canceled,
// because the error is most likely a consequence of that, and if the caller only asked for a
// study number that does not exist yet.
func explain(ctx context.Context, failure error) (slog.Level, string) {
	if e, a := refusal(failure); a.status >= http.StatusInternalServerError {
		switch {
		case ctx.Err() != nil:
			return slog.LevelInfo, "the caller has gone: " + failure.Error()
		case e.Code == events.NotYet:
			return slog.LevelInfo, failure.Error()
		}
		return slog.LevelError, failure.Error()
	}
	var e *events.Error
	if errors.As(failure, &e) && e.Err != nil {
		return slog.LevelInfo, e.Err.Error()
	}
	return slog.LevelInfo, ""
}
