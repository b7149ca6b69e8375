package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// logger passes the server's messages on. Its notices are too chatty for a
// service that embeds it: they become debug messages. The first fatal one is
// kept until Start has looked, because the server reports in no other way why
// it did not start.
type logger struct {
	log        *slog.Logger
	complaints limiter
	warnings   limiter

	mu        sync.Mutex
	started   bool
	fatalText string
	fatalErr  error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(message(format, v)) }
func (l *logger) Debugf(string, ...any)           {}
func (l *logger) Tracef(string, ...any)           {}

// Warnf logs a warning of the server's, but no faster than warnings allows: many
// are of what clients send, which anybody can go on doing.
func (l *logger) Warnf(format string, v ...any) {
	l.warnings.log(l.log, slog.LevelWarn, message(format, v))
}

// Errorf logs an error of the server's. What a client over TCP did wrong is
// none: it is noted, but no faster than complaints allows.
func (l *logger) Errorf(format string, v ...any) {
	text := message(format, v)
	if !strings.Contains(text, " - cid:") || strings.HasPrefix(text, "nats: pipe ") { // a pipe is a connection of the service's own
		l.log.Error(text)
		return
	}
	l.complaints.log(l.log, slog.LevelInfo, text)
}

// longest is how much is logged of a message, in bytes: it may quote what a
// client has sent.
const longest = 400

func message(format string, v []any) string {
	text := "nats: " + fmt.Sprintf(format, v...)
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

// Messages about clients that are logged: so many a second, and at once.
const (
	messagesPerSecond = 5
	messagesAtOnce    = 20
)

// limiter logs only some messages, and how many it did not.
type limiter struct {
	rate    *rate.Limiter
	leftOut atomic.Int64
}

func (l *limiter) log(to *slog.Logger, level slog.Level, text string) {
	if !l.rate.Allow() {
		l.leftOut.Add(1)
		return
	}
	var attrs []slog.Attr
	if n := l.leftOut.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("leftOutBefore", n))
	}
	to.LogAttrs(context.Background(), level, text, attrs...)
}

func newLogger(log *slog.Logger) *logger {
	l := &logger{log: log}
	l.complaints.rate = rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	l.warnings.rate = rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	return l
}

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started {
		l.Errorf(format, v...)
		return
	}
	if l.fatalText != "" {
		return
	}
	l.fatalText = fmt.Sprintf(format, v...)
	for _, arg := range v {
		if err, ok := arg.(error); ok {
			l.fatalErr = err
		}
	}
}

// fatal ends the start: it returns the first fatal message so far, and its
// cause where there is one.
func (l *logger) fatal() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	return l.fatalText, l.fatalErr
}
