package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// component is a part of the program, with the function that opens it (see openAll) or the
// one that runs it until its context ends (see runAll).
type component struct {
	name string
	run  func(context.Context) error // opens or runs
}

// runAll starts the components in this order and waits until ctx ends or one of them
// ends. Then it stops them in reverse order, each completely before the next, so that a
// component stops before those that it feeds. A component that ended by itself is an
// error, even if it returned nil.
func runAll(ctx context.Context, log *slog.Logger, components []component) error {
	type ended struct {
		name string
		err  error
	}
	first := make(chan ended, len(components))
	stops := make([]func() error, 0, len(components))
	for _, c := range components {
		// Each has a context of its own, which the end of ctx does not end: they are stopped
		// one by one.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan error, 1)
		go func() {
			err := c.run(own)
			done <- err
			first <- ended{c.name, err}
		}()
		stops = append(stops, func() error {
			cancel()
			err := <-done
			log.Debug("stopped", "component", c.name)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			return nil
		})
	}
	var errs []error
	select {
	case <-ctx.Done():
	case e := <-first:
		if e.err == nil { // else its stop function returns the error
			errs = append(errs, fmt.Errorf("%s ended unexpectedly", e.name))
		}
	}
	for i := len(stops) - 1; i >= 0; i-- {
		errs = append(errs, stops[i]())
	}
	return errors.Join(errs...)
}
