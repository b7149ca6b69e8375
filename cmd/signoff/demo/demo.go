// Package demo is a tour of the whole program on made-up data: it runs the real
// server on a directory of its own, and the real commands on that, and compares what
// a subscriber and the read API deliver with what was signed.
//
// It empties only a directory that it has made itself.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// Command is a tour of the whole program on made-up data, in a separate directory. It runs
// the real server and the real commands.
type Command struct {
	Once bool `help:"Exit after the tour, with status 0 if everything arrived, otherwise 1."`
}

// Marker is the name of the file that marks a directory of the demo, whose content may be
// replaced.
const Marker = "SIGNOFF-DEMO"

const demoMarkerText = "This directory was made by signoff demo, which replaces it at every start.\n"

// demoTimeout is how long the tour waits for each event or answer.
const demoTimeout = 30 * time.Second

// Runner executes a command line of signoff on an open outbox and returns its exit
// status, 0 if all was done. The tour drives the program through it, with the
// functions that the command line runs.
type Runner func(ctx context.Context, o *outbox.Outbox, args []string, t console.Terminal) int

// Run runs the server on an emptied directory and takes the tour on it. After the tour the
// server runs until ctx ends, unless --once is set or the tour failed.
func (cmd *Command) Run(ctx context.Context, dir datadir.Dir, t console.Terminal, runner Runner) error {
	if err := prepareDemo(dir); err != nil {
		return err
	}
	settings := server.Settings{
		Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", DeskListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0",
		BasePath: api.DefaultBasePath, MaxCount: server.DefaultMaxCount,
	}
	// The tour is on standard output; the log has only warnings and errors.
	p, err := server.Open(ctx, dir, settings, console.NewLog(t.Err, "text", console.Level{Level: slog.LevelWarn}))
	if errors.Is(err, console.ErrStopped) && cmd.Once {
		return errNoTour
	}
	if err != nil {
		return err
	}
	p.Metrics.MustRegister(t.Metrics()...)
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan datadir.Serving, 1), make(chan error, 1)
	go func() { ended <- p.Run(running, func(s datadir.Serving) { ready <- s }) }()
	var serving datadir.Serving
	select {
	case serving = <-ready:
	case err := <-ended:
		if err == nil && cmd.Once { // stopped in order, but nothing was shown to arrive
			return errNoTour
		}
		return err
	case <-time.After(demoTimeout):
		stop()
		return errors.Join(errors.New("the program did not become ready"), <-ended)
	}
	toured := newTour(p, serving.DeskURL, t.Out, runner, cmd.Once).run(running)
	if ctx.Err() != nil && !cmd.Once {
		toured = nil // it was stopped; only --once reports whether everything arrived
	}
	if cmd.Once || toured != nil {
		stop()
	} else {
		fmt.Fprintln(t.Out, "\nServing until Ctrl-C.")
	}
	return errors.Join(toured, <-ended)
}

// errNoTour is returned if the demo was stopped before the tour and --once is set. The exit
// status must not be 0 then, because that means that everything arrived.
var errNoTour = errors.New("stopped before the tour was over")

// prepareDemo creates an empty directory for the demo. A directory that exists is emptied
// if it has the demo's marker and no process holds its lock. An empty directory is used as
// it is. Any other is an error.
func prepareDemo(dir datadir.Dir) error {
	marker := filepath.Join(string(dir), Marker)
	text, err := os.ReadFile(marker)
	switch {
	case err == nil && string(text) == demoMarkerText:
		unlock, err := dir.Lock("demo")
		if err != nil {
			return err
		}
		defer unlock()
		if err := os.RemoveAll(string(dir)); err != nil {
			return fmt.Errorf("empty the demo's directory: %w", err)
		}
	case errors.Is(err, fs.ErrNotExist):
		if entries, err := os.ReadDir(string(dir)); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is not a directory of the demo; name another directory with --data", dir)
		}
	default:
		return fmt.Errorf("%s is not a directory of the demo; name another directory with --data", dir)
	}
	if err := dir.Create(); err != nil {
		return err
	}
	return os.WriteFile(marker, []byte(demoMarkerText), 0o600)
}
