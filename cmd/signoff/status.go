package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// statusCommand says how far each part is. It works beside a running server
// and without one.
type statusCommand struct {
	Assessment string `help:"Say which partners have received what was last published of this assessment." placeholder:"ID"`
}

// statusFacts is what the command prints.
type statusFacts struct {
	Server    string         `json:"server"`  // "ready", "not ready" or "not running"
	Applied   uint64         `json:"applied"` // stream sequence up to which the read model answers
	Outbox    outbox.Status  `json:"outbox"`
	Partners  []receipts.Lag `json:"partners"` // how far each is behind in each study granted
	Addresses *serving       `json:"addresses,omitempty"`

	Findings map[string]string `json:"findings,omitempty"` // what /readyz shows that is not ok
}

func (cmd *statusCommand) Run(ctx context.Context, c *common, t terminal) error {
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
		return printFacts(c, t, facts, facts.print)
	})
}

// serverState asks a running server whether it is ready, and what of it is not ok.
func serverState(ctx context.Context, dir dataDir) (state string, s *serving, findings map[string]string) {
	running, ok := dir.running()
	if !ok {
		return "not running", nil, nil
	}
	s = &running
	s.NATSUser, s.NATSPassword = "", "" // not for standard output
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.OpsURL+"/readyz", nil)
	if err != nil {
		return "not ready", s, nil
	}
	status, body, err := doWith(dir.client(), req)
	if err != nil || json.Unmarshal(body, &findings) != nil {
		return "not ready", s, nil
	}
	maps.DeleteFunc(findings, func(_, finding string) bool { return finding == "ok" })
	if status != http.StatusOK {
		return "not ready", s, findings
	}
	return "ready", s, findings
}

// applied returns the stream sequence the read model has reached; 0 where there
// is none yet.
func applied(ctx context.Context, dir dataDir) (uint64, error) {
	if _, err := os.Stat(dir.readModel()); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	m, err := readmodel.Open(ctx, dir.readModel(), readmodel.Config{Log: quiet})
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
	for _, name := range slices.Sorted(maps.Keys(f.Findings)) {
		fmt.Fprintf(w, "             %s: %s\n", name, f.Findings[name])
	}
	fmt.Fprintf(w, "assessments  %d registered, %d waiting for a signature, %d available\n", o.Assessments, o.Waiting, o.Available)
	fmt.Fprintf(w, "events       %d recorded, %d published, %d applied\n", o.Events, o.StreamSequence, f.Applied)
	if o.Unpublished > 0 {
		fmt.Fprintf(w, "             %d not published yet, the oldest since %s\n", o.Unpublished, time.Since(o.Oldest).Round(time.Millisecond))
	}
	for _, p := range o.Parked {
		fmt.Fprintf(w, "parked       %s since %s: %s\n             mend that, then: signoff release %s\n", p.Study, events.FormatTime(p.Since), p.Reason, p.Study)
	}
	var rows [][]string
	for _, s := range o.Studies {
		if !s.Internal {
			rows = append(rows, []string{s.Study, s.StudyKey, fmt.Sprint(s.Number), s.Time})
		}
	}
	fmt.Fprintln(w)
	table(w, []string{"STUDY", "TOKEN", "LAST EVENT", "TIME"}, rows)
	printLags(w, f.Partners, time.Now())
}
