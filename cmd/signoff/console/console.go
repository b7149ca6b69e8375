// Package console is how a command reads and prints: standard streams, facts as
// text or JSON, progress, passwords, the log of a server, and the errors that
// decide the exit status.
//
// Facts go to standard output, everything else to standard error. A command that
// keeps running is never blocked or ended by a reader of its output. A password is
// never read from an argument or an environment variable. The package knows no
// command.
package console

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// Terminal holds the standard streams of a command. Facts go to standard output,
// progress and errors to standard error.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	JSON     bool // print facts as JSON
}

// LongRunning returns the terminal of a command that keeps running when the
// terminal is closed or nobody reads its output. Other commands end then, as is
// usual. End writes the lines that are still queued.
//
// SIGPIPE is received and ignored: otherwise a write to a standard error without a
// reader would end the process. This way the write returns an error.
func (t Terminal) LongRunning() (own Terminal, end func()) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	out, err := newDropWriter(t.Out, "stdout"), newDropWriter(t.Err, "stderr")
	return Terminal{In: t.In, Out: out, Err: err, JSON: t.JSON}, func() { out.close(); err.close() }
}

// Metrics returns the counters of lines that could not be printed.
func (t Terminal) Metrics() (all []prometheus.Collector) {
	for _, w := range []io.Writer{t.Out, t.Err} {
		if w, ok := w.(*dropWriter); ok {
			all = append(all, w.dropped)
		}
	}
	return all
}

// ErrPartly is returned by a command that has already printed what was refused.
var ErrPartly = errors.New("some of it was refused")

// ErrStopped is returned by a server that was stopped before it was ready.
var ErrStopped = errors.New("stopped before it was ready")

// UsageError is a mistake in the command line that the parser cannot find.
type UsageError string

func (e UsageError) Error() string { return string(e) }
