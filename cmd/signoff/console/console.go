// Package console is how a command reads and prints: standard streams, facts as
// text or JSON, progress, passwords, the log of a server, and the errors that
// decide the exit status. Facts are the result of a command, which a script may read.
//
// Facts go to standard output, everything else to standard error. A long-running
// command is never blocked or ended by a reader of its output. A password is never
// read from an argument or an environment variable. The package contains nothing of a
// particular command.
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

// LongRunning returns the terminal for a command that must keep running when its
// terminal is closed or nobody reads its output. It is called once, before the command
// runs. End writes the lines that are still queued; it is called after the command.
//
// From then on the process ignores SIGHUP and SIGPIPE. Without the latter, a write to a
// standard stream that has no reader would end the process; now it returns an error.
func (t Terminal) LongRunning() (own Terminal, end func()) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	out, err := newDropWriter(t.Out, "stdout"), newDropWriter(t.Err, "stderr")
	return Terminal{In: t.In, Out: out, Err: err, JSON: t.JSON}, func() { out.close(); err.close() }
}

// Metrics returns the counters of lines that could not be printed. Only a terminal of
// LongRunning has any.
func (t Terminal) Metrics() (all []prometheus.Collector) {
	for _, w := range []io.Writer{t.Out, t.Err} {
		if w, ok := w.(*dropWriter); ok {
			all = append(all, w.dropped)
		}
	}
	return all
}

// ErrPartly is returned by a command that refused some of its input and has already
// printed what and why. It leads to the exit status of a refusal and is not printed.
var ErrPartly = errors.New("some of it was refused")

// ErrStopped is returned by a server that was stopped before it was ready. That is no
// failure: it leads to exit status 0 and is not printed.
var ErrStopped = errors.New("stopped before it was ready")

// UsageError is a mistake in the command line that the parser cannot find.
type UsageError string

func (e UsageError) Error() string { return string(e) }
