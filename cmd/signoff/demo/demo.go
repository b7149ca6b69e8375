// Package demo is a tour of the whole program on made-up data.
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

// Command is a tour of the whole program on made-up data: the real parts,
// in a directory of its own.
type Command struct {
	Once bool `help:"End after the tour: status 0 if everything arrived, else 1."`
}

// Marker is the file by which the demo knows a directory as its own; what
// is in such a directory may be replaced.
const Marker = "SIGNOFF-DEMO"

const demoMarkerText = "This directory was made by signoff demo, which replaces it at every start.\n"

// demoTimeout bounds the wait for any one thing in the tour.
const demoTimeout = 30 * time.Second

// Runner executes a command line of signoff on an open outbox and returns its exit
// status, 0 if all was done. The tour drives the program through it, with the
// functions that the command line runs.
type Runner func(ctx context.Context, o *outbox.Outbox, args []string, t console.Terminal) int

// Run runs the server on an emptied directory and takes the tour on it.
func (cmd *Command) Run(ctx context.Context, dir datadir.Dir, t console.Terminal, runner Runner) error {
	if err := prepareDemo(dir); err != nil {
		return err
	}
	settings := server.Settings{
		Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0",
		BasePath: api.DefaultBasePath, MaxCount: server.DefaultMaxCount,
	}
	// What the demo shows is on standard output; the log has only what went wrong.
	p, err := server.Open(ctx, dir, settings, console.NewLog(t.Err, "text", slog.LevelWarn))
	if errors.Is(err, console.ErrStopped) && cmd.Once {
		return errNoTour
	}
	if err != nil {
		return err
	}
	p.Metrics.MustRegister(t.Metrics()...)
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.Run(running, func(datadir.Serving) { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		if err == nil && cmd.Once {
			return errNoTour
		}
		return err
	case <-time.After(demoTimeout):
		stop()
		return errors.Join(errors.New("the program did not get ready"), <-ended)
	}
	toured := newTour(p, t.Out, runner).run(running)
	if ctx.Err() != nil && !cmd.Once {
		toured = nil // it was told to stop; only --once says whether everything arrived
	}
	if cmd.Once || toured != nil {
		stop()
	} else {
		fmt.Fprintln(t.Out, "\nServing until Ctrl-C.")
	}
	return errors.Join(toured, <-ended)
}

// errNoTour ends a demo that was to show whether everything arrives, and was
// stopped before it could.
var errNoTour = errors.New("stopped before the tour was over")

// prepareDemo makes an empty directory for the demo. One that exists is
// emptied if the demo made it, and nobody runs in it, else refused.
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
			return fmt.Errorf("%s holds something else; name a directory for the demo with --data", dir)
		}
	default:
		return fmt.Errorf("%s holds something else; name a directory for the demo with --data", dir)
	}
	if err := dir.Create(); err != nil {
		return err
	}
	return os.WriteFile(marker, []byte(demoMarkerText), 0o600)
}
