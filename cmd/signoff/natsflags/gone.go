package natsflags

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// Gone is a flag that there is no more. Its help says what to use instead, to
// whoever sets the flag or its variable.
type Gone struct{}

// Decode returns an error.
func (*Gone) Decode(ctx *kong.DecodeContext) error {
	return fmt.Errorf("there is no such flag; %s", ctx.Value.Help)
}

// IsBool has the error come before that of a value that is missing.
func (*Gone) IsBool() bool { return true }
