package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// statusCommand prints what is registered, recorded, published, applied, and received by
// partners, with or without a running server.
type statusCommand struct {
	Assessment string `help:"Print which partners have received what was last published of this assessment." placeholder:"ID"`
}

// statusFacts is what the command prints.
type statusFacts struct {
	Server    string           `json:"server"`  // "ready", "not ready" or "not running"
	Applied   uint64           `json:"applied"` // stream sequence up to which the read model answers
	Outbox    outbox.Status    `json:"outbox"`
	Partners  []receipts.Lag   `json:"partners"` // what each has received and acknowledged in each study granted
	Addresses *datadir.Serving `json:"addresses,omitempty"`

	Findings map[string]string `json:"findings,omitempty"` // conditions in /readyz that do not hold, or why it does not answer
}

func (cmd *statusCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	if cmd.Assessment != "" {
		return reception(ctx, c, t, cmd.Assessment)
	}
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		var facts statusFacts
		var err error
		if facts.Outbox, err = o.Status(ctx); err != nil {
			return err
		}
		if facts.Partners, err = o.Receipts().Lags(ctx); err != nil {
			return err
		}
		if facts.Applied, err = applied(ctx, c.dir()); err != nil {
			return err
		}
		facts.Server, facts.Addresses, facts.Findings = serverState(ctx, c.dir())
		if ctx.Err() != nil { // perhaps before the server could answer
			return context.Cause(ctx)
		}
		return console.PrintFacts(t, facts, facts.print)
	})
}

// serverState asks the running server whether it is ready. State is "ready", "not ready" or
// "not running". S describes the running server; nil if none runs or serve.json is missing.
// Findings are the texts of /readyz for the conditions that do not hold, or why the server
// does not answer.
func serverState(ctx context.Context, dir datadir.Dir) (state string, s *datadir.Serving, findings map[string]string) {
	running, ok := dir.Running()
	if !ok {
		if dir.Served() {
			return "not ready", nil, map[string]string{"serve.json": "the file is missing, or cannot be read, although signoff serve holds the data directory's lock: " +
				"it is starting or stopping; if it lasts, stop and start it again, because the file was removed"}
		}
		return "not running", nil, nil
	}
	s = &running
	ctx, cancel := context.WithTimeout(ctx, server.ReadyTimeout+time.Second) // the server's checks may take all of ReadyTimeout
	defer cancel()
	status, body, err := dir.Get(ctx, s.OpsURL+"/readyz")
	switch {
	case err != nil && !dir.Locked():
		return "not running", nil, nil // it has ended meanwhile
	case err != nil:
		return "not ready", s, map[string]string{"/readyz": "no answer: " + err.Error()}
	case json.Unmarshal(body, &findings) != nil:
		return "not ready", s, map[string]string{"/readyz": fmt.Sprintf("the answer, of status %d, is not that of signoff serve", status)}
	}
	maps.DeleteFunc(findings, func(_, finding string) bool { return finding == "ok" })
	if status != http.StatusOK {
		return "not ready", s, findings
	}
	return "ready", s, findings
}

// warnUnpublished is called after something was signed. It prints why partners may not get
// that at once: no server runs, it does not publish, or it is not ready. Otherwise it
// prints nothing.
func warnUnpublished(ctx context.Context, c *common, t console.Terminal) {
	// What is signed stays signed when ctx has ended, so the warning is still due.
	state, _, findings := serverState(context.WithoutCancel(ctx), c.dir())
	switch {
	case state == "not running":
		fmt.Fprintf(t.Err, "No server is running on %s: nothing is published until one runs (signoff serve).\n", c.dir())
	case findings["stream"] != "":
		fmt.Fprintf(t.Err, "Nothing is published now: %s\n", findings["stream"])
	case state != "ready":
		fmt.Fprintln(t.Err, "The server is not ready, so partners may get it later:")
		printFindings(t.Err, findings)
	}
}

// printFindings prints findings as serverState returns them, sorted by name.
func printFindings(w io.Writer, findings map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(findings)) {
		fmt.Fprintf(w, "             %s: %s\n", name, findings[name])
	}
}

// applied returns the stream sequence of the last event that the read model has applied; 0
// if there is no read model.
func applied(ctx context.Context, dir datadir.Dir) (uint64, error) {
	if _, err := os.Stat(dir.ReadModel()); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	m, err := readmodel.Open(ctx, dir.ReadModel(), readmodel.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	return m.Position().StreamSequence, m.Close()
}

func (f statusFacts) print(w io.Writer) {
	o := f.Outbox
	server := f.Server
	if f.Addresses != nil {
		server = fmt.Sprintf("%s, process %d, %s", f.Server, f.Addresses.PID, f.Addresses.PublicURL)
	}
	fmt.Fprintf(w, "server       %s\n", server)
	printFindings(w, f.Findings)
	fmt.Fprintf(w, "assessments  %d registered, %d waiting for a signature, %d available\n", o.Assessments, o.Waiting, o.Available)
	fmt.Fprintf(w, "events       %d recorded, %d published, %d applied\n", o.Events, o.StreamSequence, f.Applied)
	if o.Unpublished > 0 {
		fmt.Fprintf(w, "             %d not published yet, the oldest since %s\n", o.Unpublished, time.Since(o.Oldest).Round(time.Millisecond))
	}
	for _, p := range o.Parked {
		fmt.Fprintf(w, "parked       %s since %s: %s\n             repair that, then run: signoff release %s\n", p.Study, events.FormatTime(p.Since), p.Reason, p.Study)
	}
	var rows [][]string
	for _, s := range o.Studies {
		if !s.Internal {
			rows = append(rows, []string{s.Study, s.StudyKey, fmt.Sprint(s.Number), s.Time})
		}
	}
	fmt.Fprintln(w)
	console.Table(w, []string{"STUDY", "STUDY KEY", "LAST EVENT", "TIME"}, rows)
	printLags(w, f.Partners, time.Now())
}

// printLags prints a table of how many events partners have not acknowledged in each study,
// and for how long. It prints nothing if there are no partners.
func printLags(w io.Writer, lags []receipts.Lag, now time.Time) {
	if len(lags) == 0 {
		return
	}
	rows := make([][]string, len(lags))
	for i, l := range lags {
		study := l.Study
		if events.InternalStudy(l.Study) {
			study = "(its own access)"
		}
		since := "" // nothing is unacknowledged
		if !l.Since.IsZero() {
			since = now.Sub(l.Since).Round(time.Second).String()
		}
		rows[i] = []string{l.Partner, study, fmt.Sprint(l.Last), fmt.Sprint(l.Delivered), fmt.Sprint(l.Acknowledged), fmt.Sprint(l.Behind), since}
	}
	fmt.Fprintln(w)
	console.Table(w, []string{"PARTNER", "STUDY", "LAST EVENT", "DELIVERED", "ACKNOWLEDGED", "BEHIND", "FOR"}, rows)
}

// reception prints which partners have received what was last published of an assessment.
func reception(ctx context.Context, c *common, t console.Terminal, assessment string) error {
	return withOutbox(ctx, c, func(o *outbox.Outbox) error {
		r, err := o.Receipts().Reception(ctx, assessment)
		if err != nil {
			return err
		}
		return console.PrintFacts(t, r, func(w io.Writer) {
			where := fmt.Sprintf("message %d of the stream", r.StreamSequence)
			if r.StreamSequence == 0 {
				where = "not published yet"
			}
			fmt.Fprintf(w, "assessment %s: event %d of %s (%s), %s, %s\n", r.Assessment, r.Number, r.Study, r.Kind, events.FormatTime(r.Time), where)
			if len(r.Receivers) == 0 {
				fmt.Fprintf(w, "no partner may see %s\n", r.Study)
				return
			}
			rows := make([][]string, len(r.Receivers))
			for i, p := range r.Receivers {
				rows[i] = []string{p.Partner, p.State}
			}
			console.Table(w, []string{"PARTNER", "STATE"}, rows)
		})
	})
}

// readyCommand asks the running serve or callout whether it is ready. It is a health check
// for containers, which have no HTTP client.
type readyCommand struct{}

func (cmd *readyCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	state, _, findings := serverState(ctx, c.dir())
	if ctx.Err() != nil { // perhaps before the server could answer
		return context.Cause(ctx)
	}
	if state != "ready" {
		printFindings(t.Err, findings)
		return fmt.Errorf("the server on %s is %s", c.dir(), state)
	}
	_, err := fmt.Fprintln(t.Out, state)
	return err
}

// releaseCommand makes the publisher try a parked study again. A study is parked when one of
// its events cannot be published; then none after it is. An operator runs the command once
// the cause is repaired.
type releaseCommand struct {
	Study string `arg:"" help:"Study id or study key, as signoff status prints them."`
}

func (cmd *releaseCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	return change(ctx, c, t, "study "+cmd.Study+" is released as soon as no event is being published", func(o *outbox.Outbox) error {
		return o.RequestRelease(ctx, console.Operator(), cmd.Study)
	})
}
