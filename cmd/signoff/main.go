// Command signoff publishes the response assessments that a Principal
// Investigator has signed off, to the partners of the study and to nobody else.
//
// "signoff serve" runs the whole program on one data directory: the outbox
// that records sign-offs, the publisher that puts them on NATS JetStream, the
// read model that follows the stream, and the read API. The other commands
// administer that directory, whether a server is running or not, and
// "signoff demo" is a tour of everything in a directory of its own.
//
// With --nats-url it uses a NATS server or cluster that runs elsewhere, under
// the configuration that "signoff nats-config" writes, and "signoff callout"
// answers partners' logins there beside it.
//
// Exit status: 0 done, 1 refused or failed, 2 wrong usage. SIGTERM and SIGINT
// stop serve, callout and demo in order, with status 0, also while they start; a
// second one kills them. They ignore SIGHUP. Lines that nobody reads are dropped.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // before anything ends: from now on a signal kills
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// terminal is where a command reads and writes: standard output carries facts,
// standard error progress and complaints.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// Exit statuses of the program.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// run executes one command line and returns its exit status.
func run(ctx context.Context, args []string, term terminal) int {
	var commands cli
	exited := false
	parser, err := kong.New(&commands,
		kong.Name("signoff"),
		kong.Description("Publishes signed-off response assessments (RECIST 1.1) as CloudEvents and FHIR."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.DefaultEnvars("SIGNOFF"),
		kong.Vars{
			"basePath": api.DefaultBasePath, "maxCount": strconv.Itoa(defaultMaxCount), "maxConsumers": strconv.Itoa(partners.DefaultMaxConsumers),
		},
		kong.Writers(term.out, term.err),
		kong.Exit(func(int) { exited = true }),
	)
	if err != nil {
		fmt.Fprintln(term.err, "signoff:", err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited { // --help has been printed
		return exitDone
	}
	if err != nil {
		fmt.Fprintf(term.err, "signoff: %v\nTry: signoff --help\n", err)
		return exitUsage
	}
	if lasting[command.Command()] {
		var end func()
		term, end = term.lasting()
		defer end()
	}
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(&commands.common, term); err != nil {
		return complain(term.err, err)
	}
	return exitDone
}

// lasting names the commands that run until they are stopped.
var lasting = map[string]bool{"serve": true, "callout": true, "demo": true}

// lasting returns the terminal of a command that goes on when the terminal is
// closed and when nobody reads what it prints. Other commands end then, as is
// usual. Call end for the last lines to be written.
//
// SIGPIPE is received, and not looked at, because otherwise a write to standard
// error without a reader ends the program; now the write returns an error.
func (t terminal) lasting() (own terminal, end func()) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	out, err := newDropWriter(t.out, "stdout"), newDropWriter(t.err, "stderr")
	return terminal{in: t.in, out: out, err: err}, func() { out.close(); err.close() }
}

// Metrics returns the figures of what could not be printed.
func (t terminal) Metrics() (all []prometheus.Collector) {
	for _, w := range []io.Writer{t.out, t.err} {
		if w, ok := w.(*dropWriter); ok {
			all = append(all, w.dropped)
		}
	}
	return all
}

// errPartly ends a command that has already said what was refused.
var errPartly = errors.New("some of it was refused")

// errStopped ends a command that was told to stop before it was ready.
var errStopped = errors.New("stopped before it was ready")

// complain prints what went wrong and returns the exit status.
func complain(w io.Writer, err error) int {
	var usage usageError
	switch {
	case errors.Is(err, errStopped):
		return exitDone
	case errors.Is(err, errPartly):
		return exitRefused
	case errors.As(err, &usage):
		fmt.Fprintln(w, "signoff:", err)
		return exitUsage
	default:
		fmt.Fprintln(w, "signoff:", err)
		return exitRefused
	}
}

// usageError is a command line that parses but makes no sense.
type usageError string

func (e usageError) Error() string { return string(e) }
