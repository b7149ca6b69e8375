package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// auditCommand prints the audit trail, with --json as one object a line.
type auditCommand struct {
	Study string `help:"Only lines about this study." placeholder:"S"`
}

func (cmd *auditCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		lines := json.NewEncoder(t.Out)
		lines.SetEscapeHTML(false)
		return o.Audit(ctx, outbox.AuditFilter{Study: cmd.Study}, func(e outbox.AuditEntry) error {
			if c.JSON {
				return lines.Encode(e)
			}
			_, err := fmt.Fprintf(t.Out, "%d  %s  %s  %s  %s  %s  %s\n",
				e.Number, events.FormatTime(e.Time), dash(e.Actor), e.Action, dash(e.Study), dash(e.Subject), e.Detail)
			return err
		})
	})
}

// dash returns the text, or "-" in place of an empty one.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
