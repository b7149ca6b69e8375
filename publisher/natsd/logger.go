package natsd

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/time/rate"
)

// logger passes the server's messages on. Its notices are too chatty for a
// service that embeds it: they become debug messages. The first fatal one is
// kept until Start has looked, because the server reports in no other way why
// it did not start.
type logger struct {
	log        *slog.Logger
	complaints *rate.Limiter

	mu        sync.Mutex
	started   bool
	fatalText string
	fatalErr  error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(string, ...any)           {}
func (l *logger) Tracef(string, ...any)           {}

// Errorf logs an error of the server's. What a client over TCP did wrong is
// none: it is noted, but no faster than complaints allows, because anybody can
// go on doing it.
func (l *logger) Errorf(format string, v ...any) {
	text := "nats: " + fmt.Sprintf(format, v...)
	switch {
	case !strings.Contains(text, " - cid:"), strings.HasPrefix(text, "nats: pipe "): // a pipe is a connection of the service's own
		l.log.Error(text)
	case l.complaints.Allow():
		l.log.Info(text)
	}
}

// Complaints about clients that are logged: so many a second, and at once.
const (
	complaintsPerSecond = 5
	complaintsAtOnce    = 20
)

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log, complaints: rate.NewLimiter(complaintsPerSecond, complaintsAtOnce)}
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

// fatal ends the start: it gives the first fatal message so far, and its
// cause where there is one.
func (l *logger) fatal() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	return l.fatalText, l.fatalErr
}
