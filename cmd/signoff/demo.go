package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-e88a4ece/signoff/subscriber/api"
)

// demoCommand is a tour of the whole program on made-up data: the real parts,
// in a directory of its own.
type demoCommand struct {
	Once bool `help:"End after the tour: status 0 if everything arrived, else 1."`
}

// demoMarker is the file by which the demo knows a directory as its own; what
// is in such a directory may be replaced.
const demoMarker = "SIGNOFF-DEMO"

const demoMarkerText = "This directory was made by signoff demo, which replaces it at every start.\n"

// demoTimeout bounds the wait for any one thing in the tour.
const demoTimeout = 30 * time.Second

func (cmd *demoCommand) Run(ctx context.Context, c *common, t terminal) error {
	dir := dataDir(cmp.Or(c.Data, "./signoff-demo"))
	if err := prepareDemo(dir); err != nil {
		return err
	}
	settings := settings{
		Listen: "127.0.0.1:0", OpsListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0",
		BasePath: api.DefaultBasePath, MaxCount: defaultMaxCount,
	}
	// What the demo shows is on standard output; the log has only what went wrong.
	p, err := openProgram(ctx, dir, settings, newLog(t.err, "text", slog.LevelWarn))
	if errors.Is(err, errStopped) && cmd.Once {
		return errNoTour
	}
	if err != nil {
		return err
	}
	p.metrics.MustRegister(t.Metrics()...)
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- p.run(running, func(serving) { close(ready) }) }()
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
	toured := newTour(p, t.out).run(running)
	if ctx.Err() != nil && !cmd.Once {
		toured = nil // it was told to stop; only --once says whether everything arrived
	}
	if cmd.Once || toured != nil {
		stop()
	} else {
		fmt.Fprintln(t.out, "\nServing until Ctrl-C.")
	}
	return errors.Join(toured, <-ended)
}

// errNoTour ends a demo that was to show whether everything arrives, and was
// stopped before it could.
var errNoTour = errors.New("stopped before the tour was over")

// prepareDemo makes an empty directory for the demo. One that exists is
// emptied if the demo made it, and nobody runs in it, else refused.
func prepareDemo(dir dataDir) error {
	marker := filepath.Join(string(dir), demoMarker)
	text, err := os.ReadFile(marker)
	switch {
	case err == nil && string(text) == demoMarkerText:
		unlock, err := dir.lock("demo")
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
	if err := dir.make(); err != nil {
		return err
	}
	return os.WriteFile(marker, []byte(demoMarkerText), 0o600)
}

// demoSecret makes a password that nobody else's demo has.
func demoSecret() string { return rand.Text() }
