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

// logger passes the server's messages on to a slog.Logger. Notices become debug
// messages, because there are too many of them for a service that embeds the server.
// The first fatal message is stored for Start: the server reports in no other way why
// it did not start.
type logger struct {
	log          *slog.Logger
	clientErrors limiter // of errors that a client has caused
	warnings     limiter

	mu        sync.Mutex
	started   bool   // fatal was called
	fatalText string // the first fatal message
	fatalErr  error  // its cause, or nil
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(message(format, v)) }
func (l *logger) Debugf(string, ...any)           {}
func (l *logger) Tracef(string, ...any)           {}

// Warnf logs a warning of the server. The rate is limited, because many warnings are
// about what clients send, and any client could fill the log.
func (l *logger) Warnf(format string, v ...any) {
	l.warnings.log(l.log, slog.LevelWarn, message(format, v))
}

// Errorf logs an error of the server. If a client over TCP has caused it, it is no
// error of the service: it is logged with level Info and at a limited rate.
func (l *logger) Errorf(format string, v ...any) {
	text := message(format, v)
	if !strings.Contains(text, " - cid:") || strings.HasPrefix(text, "nats: pipe ") { // a pipe is a connection of the service's own
		l.log.Error(text)
		return
	}
	l.clientErrors.log(l.log, slog.LevelInfo, text)
}

// maxMessage is how much of a message is logged, in bytes. A message may quote what a
// client has sent.
const maxMessage = 400

// message returns the text that is logged. It is cut if it is too long.
func message(format string, v []any) string {
	text := "nats: " + fmt.Sprintf(format, v...)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// Limits of the messages of one limiter.
const (
	messagesPerSecond = 5  // on average
	messagesAtOnce    = 20 // after a time without messages
)

// limiter logs messages at a limited rate and counts those that it leaves out.
type limiter struct {
	rate    *rate.Limiter
	leftOut atomic.Int64 // since the last message that was logged
}

// log logs a message with the number of those that were left out before it, or counts it
// as left out.
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

// newLogger returns a logger for the start of a server.
func newLogger(log *slog.Logger) *logger {
	l := &logger{log: log}
	l.clientErrors.rate = rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	l.warnings.rate = rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	return l
}

// Fatalf stores the first fatal message of the start. After the start it logs the message
// as an error. It does not end the program, as a server of its own would.
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

// fatal returns the first fatal message of the start, empty if there was none, and its
// cause, if any. From then on Fatalf logs messages.
func (l *logger) fatal() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	return l.fatalText, l.fatalErr
}
