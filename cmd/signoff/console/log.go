package console

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
)

// Level is a log level as a flag has it.
type Level struct{ slog.Level }

// UnmarshalText reads the name of a level, as slog.Level does.
func (l *Level) UnmarshalText(text []byte) error {
	if err := l.Level.UnmarshalText(text); err != nil {
		return fmt.Errorf("must be debug, info, warn or error, not %q", text)
	}
	return nil
}

// NewLog returns the log of a long-running command, in the format "json" or "text". If w
// is a stream of Terminal.LongRunning, NewLog also sets its notice: where lines were
// dropped, the log has a line with their number, whatever level it has.
func NewLog(w io.Writer, format string, level Level) *slog.Logger {
	handler := func(w io.Writer, level slog.Level) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	if w, ok := w.(*dropWriter); ok {
		w.setNotice(func(lost uint64) []byte {
			var line bytes.Buffer
			slog.New(handler(&line, slog.LevelWarn)).Warn("lines of this log were dropped because nobody read them or writing failed", "lines", lost)
			return line.Bytes()
		})
	}
	return slog.New(handler(w, level.Level))
}
