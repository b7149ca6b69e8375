package main

import (
	"context"
	"fmt"
)

// readyCommand asks a running serve or callout whether it is ready, as a health
// check where there is no HTTP client.
type readyCommand struct{}

func (cmd *readyCommand) Run(ctx context.Context, c *common, t terminal) error {
	state, _, _ := serverState(ctx, c.dir())
	if state != "ready" {
		return fmt.Errorf("the server on %s is %s", c.dir(), state)
	}
	_, err := fmt.Fprintln(t.out, state)
	return err
}
