package natsd

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger passes the server's messages on. Its notices are too chatty for a
// service that embeds it: they become debug messages. The first fatal one is
// kept until Start has looked, because the server reports in no other way why
// it did not start.
type logger struct {
	log *slog.Logger

	mu        sync.Mutex
	started   bool
	fatalText string
	fatalErr  error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(string, ...any)           {}
func (l *logger) Tracef(string, ...any)           {}

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
