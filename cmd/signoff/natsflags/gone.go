package natsflags

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// Gone is a flag that was removed. Setting it, or its environment variable, is an error
// that contains the flag's help: what to use instead.
type Gone struct{}

// Decode implements kong.MapperValue. It always returns an error.
func (*Gone) Decode(ctx *kong.DecodeContext) error {
	return fmt.Errorf("there is no such flag; %s", ctx.Value.Help)
}

// IsBool tells kong that the flag needs no value. Otherwise a flag without a value would
// be reported as that, and Decode would not be called.
func (*Gone) IsBool() bool { return true }
