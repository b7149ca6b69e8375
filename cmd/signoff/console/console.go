// Package console is what the commands share in talking to the person or
// program that runs them: standard streams, facts as text or JSON, progress,
// passwords, the log of a server, and the errors that decide the exit status.
package console

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// Terminal is where a command reads and writes: standard output carries facts,
// standard error progress and complaints.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	JSON     bool // facts are printed as JSON
}

// Lasting returns the terminal of a command that goes on when the terminal is
// closed and when nobody reads what it prints. Other commands end then, as is
// usual. Call end for the last lines to be written.
//
// SIGPIPE is received, and not looked at, because otherwise a write to standard
// error without a reader ends the program; now the write returns an error.
func (t Terminal) Lasting() (own Terminal, end func()) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	out, err := newDropWriter(t.Out, "stdout"), newDropWriter(t.Err, "stderr")
	return Terminal{In: t.In, Out: out, Err: err, JSON: t.JSON}, func() { out.close(); err.close() }
}

// Metrics returns the figures of what could not be printed.
func (t Terminal) Metrics() (all []prometheus.Collector) {
	for _, w := range []io.Writer{t.Out, t.Err} {
		if w, ok := w.(*dropWriter); ok {
			all = append(all, w.dropped)
		}
	}
	return all
}

// ErrPartly ends a command that has already said what was refused.
var ErrPartly = errors.New("some of it was refused")

// ErrStopped ends a command that was told to stop before it was ready.
var ErrStopped = errors.New("stopped before it was ready")

// UsageError is a command line that parses but makes no sense.
type UsageError string

func (e UsageError) Error() string { return string(e) }
