package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
)

// printLags prints how far partners are behind.
func printLags(w io.Writer, lags []receipts.Lag, now time.Time) {
	if len(lags) == 0 {
		return
	}
	rows := make([][]string, len(lags))
	for i, l := range lags {
		study := l.Study
		if events.InternalStudy(l.Study) {
			study = "(what it is told)"
		}
		since := ""
		if !l.Since.IsZero() {
			since = now.Sub(l.Since).Round(time.Second).String()
		}
		rows[i] = []string{l.Partner, study, fmt.Sprint(l.Last), fmt.Sprint(l.Delivered), fmt.Sprint(l.Acknowledged), fmt.Sprint(l.Behind), since}
	}
	fmt.Fprintln(w)
	table(w, []string{"PARTNER", "STUDY", "LAST EVENT", "DELIVERED", "ACKNOWLEDGED", "BEHIND", "FOR"}, rows)
}

// reception prints which partners have received what was last published of an
// assessment.
func reception(ctx context.Context, c *common, t terminal, assessment string) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		r, err := o.Receipts().Reception(ctx, assessment)
		if err != nil {
			return err
		}
		return printFacts(c, t, r, func(w io.Writer) {
			where := fmt.Sprintf("message %d of the stream", r.StreamSequence)
			if r.StreamSequence == 0 {
				where = "not published yet"
			}
			fmt.Fprintf(w, "assessment %s: event %d of %s (%s), %s, %s\n", r.Assessment, r.Number, r.Study, r.Kind, events.FormatTime(r.Time), where)
			rows := make([][]string, len(r.Receivers))
			for i, p := range r.Receivers {
				rows[i] = []string{p.Partner, p.State}
			}
			table(w, []string{"PARTNER", "STATE"}, rows)
		})
	})
}
