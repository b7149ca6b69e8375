// Command signoff publishes the response assessments that a Principal
// Investigator has signed off, to the partners of the study and to nobody else.
//
// "signoff serve" runs the whole program on one data directory: the outbox
// that records sign-offs, the publisher that puts them on NATS JetStream, the
// read model that follows the stream, the read API for partners, and the desk for PIs
// and source systems. The other commands administer that directory, whether a server
// is running or not, and "signoff demo" is a tour of everything in a separate directory.
//
// A PI (Principal Investigator) signs assessments. A partner is an organisation that may
// see the signed assessments of the studies granted to it. An assessment waits from its
// registration until a PI signs it.
//
// With --nats-url it uses an outside NATS server or cluster that runs with the
// configuration that "signoff nats-config" writes, and "signoff callout" answers
// partners' logins there, beside "signoff serve".
//
// Exit status: 0 done, 1 refused or failed, 2 wrong usage. SIGTERM and SIGINT
// stop serve, callout and demo in order, with status 0, also while they start; a
// second signal kills the process. They ignore SIGHUP, and drop lines of their output
// that nobody reads.
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

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/demo"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// main runs the command line. The first SIGINT or SIGTERM ends the command's context, the
// second one kills the process.
func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // before cancel, so that the next signal kills the process at once
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], console.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// Exit statuses of the program.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// run executes one command line and returns its exit status.
func run(ctx context.Context, args []string, term console.Terminal) int {
	return runOn(ctx, nil, args, term, kong.DefaultEnvars("SIGNOFF"))
}

// runInDemo executes a command line of the tour on the demo's outbox. It does
// not read environment variables, because they are meant for the demo itself.
func runInDemo(ctx context.Context, o *outbox.Outbox, args []string, term console.Terminal) int {
	return runOn(ctx, o, args, term)
}

// runOn executes one command line and returns its exit status. Commands use the outbox o,
// or open that of the data directory if o is nil.
func runOn(ctx context.Context, o *outbox.Outbox, args []string, term console.Terminal, options ...kong.Option) int {
	var commands cli
	commands.outbox = o
	exited := false // kong wanted to exit the process, after --help or --version
	parser, err := kong.New(&commands, append(options,
		kong.Name("signoff"),
		kong.Description("Publishes signed-off response assessments (RECIST 1.1) as CloudEvents and FHIR."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		helpVariables(),
		kong.Writers(term.Out, term.Err),
		kong.Exit(func(int) { exited = true }),
	)...)
	if err != nil {
		fmt.Fprintln(term.Err, "signoff:", err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited { // --help or --version has been printed
		return exitDone
	}
	if err != nil {
		fmt.Fprintf(term.Err, "signoff: %v\nTry: %s --help\n", err, commandOf(err))
		return exitUsage
	}
	if longRunning[command.Command()] {
		var end func()
		term, end = term.LongRunning()
		defer end()
	}
	term.JSON = commands.JSON
	command.BindTo(ctx, (*context.Context)(nil))
	fallback := "./data"
	if command.Command() == "demo" {
		fallback = "./signoff-demo" // the demo empties it; see prepareDemo
	}
	if err := commands.resolve(fallback); err != nil {
		return exitStatus(term.Err, err)
	}
	if err := command.Run(&commands.common, commands.dir(), term, demo.Runner(runInDemo)); err != nil {
		status := exitStatus(term.Err, err)
		if status == exitUsage {
			fmt.Fprintf(term.Err, "Try: %s --help\n", command.Selected().FullPath())
		}
		return status
	}
	return exitDone
}

// commandOf returns the command to which an error of the parser belongs, as one types it,
// for instance "signoff pi add".
func commandOf(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		if command := parse.Context.Selected(); command != nil {
			return command.FullPath()
		}
	}
	return "signoff"
}

// longRunning holds the commands that run until they are stopped.
var longRunning = map[string]bool{"serve": true, "callout": true, "demo": true}

// exitStatus returns the exit status for the error of a command, and prints the error. It
// prints nothing for ErrStopped, which is no failure, and for ErrPartly, whose command has
// already printed what was refused.
func exitStatus(w io.Writer, err error) int {
	var usage console.UsageError
	switch err = retry.Readable(err); {
	case errors.Is(err, console.ErrStopped):
		return exitDone
	case errors.Is(err, console.ErrPartly):
		return exitRefused
	case errors.As(err, &usage):
		fmt.Fprintln(w, "signoff:", err)
		return exitUsage
	default:
		fmt.Fprintln(w, "signoff:", err)
		return exitRefused
	}
}

// helpVariables returns the values that the help names by variables.
func helpVariables() kong.Vars {
	return kong.Vars{
		"version":  versionText(buildInfo()),
		"basePath": api.DefaultBasePath, "maxCount": strconv.Itoa(server.DefaultMaxCount), "maxConsumers": strconv.Itoa(partners.DefaultMaxConsumers),
		"natsListen": server.DefaultNATSListen,
	}
}
