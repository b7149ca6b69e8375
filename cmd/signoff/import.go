package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// importCommand registers assessments from files. They are published once a PI has
// signed them.
type importCommand struct {
	File       []string `arg:"" optional:"" help:"FHIR Bundle or DiagnosticReport, JSON, or NDJSON." placeholder:"FILE"`
	SDTM       string   `name:"sdtm" help:"Directory with tu.csv, tr.csv and rs.csv." placeholder:"DIR"`
	Evaluator  string   `help:"With --sdtm: whose records, EVAL or EVAL/EVALID." placeholder:"E"`
	CaseOffset int      `help:"With --sdtm: new case numbers start above this one." placeholder:"N"`
}

// Validate requires either files or a directory.
func (cmd *importCommand) Validate() error {
	switch {
	case (len(cmd.File) > 0) == (cmd.SDTM != ""):
		return console.UsageError("name what to import: either files, or --sdtm DIR")
	case cmd.SDTM == "" && (cmd.Evaluator != "" || cmd.CaseOffset != 0):
		return console.UsageError("--evaluator and --case-offset need --sdtm")
	case cmd.CaseOffset < 0:
		return console.UsageError("--case-offset must not be negative")
	}
	return nil
}

func (cmd *importCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	return withNewOutbox(ctx, c, func(o *outbox.Outbox) error {
		in := &importing{ctx: ctx, outbox: o, term: t, text: !c.JSON}
		if err := in.read(cmd); err != nil {
			return fmt.Errorf("%w (%s)", err, in.summary())
		}
		if err := console.PrintFacts(t, in, func(w io.Writer) { fmt.Fprintln(w, in.summary()) }); err != nil {
			return err
		}
		if in.Refused > 0 {
			return console.ErrPartly
		}
		return nil
	})
}

// importing registers records in batches and counts the results.
type importing struct {
	Taken     int      `json:"taken"`
	Unchanged int      `json:"unchanged"`
	Refused   int      `json:"refused"`
	Refusals  []remark `json:"refusals,omitempty"` // the first maxRemarks
	Warnings  []remark `json:"warnings,omitempty"` // the first maxRemarks

	ctx    context.Context
	outbox *outbox.Outbox
	term   console.Terminal
	text   bool
	batch  []intake.Record
}

// remark is a refusal or a warning, with its place.
type remark struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

const (
	importBatch = 500
	maxRemarks  = 1000 // printed with --json; as text all are printed at once
)

func (in *importing) summary() string {
	return fmt.Sprintf("%d taken, %d unchanged, %d refused", in.Taken, in.Unchanged, in.Refused)
}

func (in *importing) read(cmd *importCommand) error {
	if cmd.SDTM != "" {
		if err := in.readSDTM(cmd); err != nil {
			return err
		}
	}
	for _, path := range cmd.File {
		if err := in.readFile(path); err != nil {
			return err
		}
	}
	return in.flush()
}

// refuseDatabase refuses to read the outbox's own files, by whatever name: closing such a
// file releases the locks that this process has on the database.
func (in *importing) refuseDatabase(path string) error {
	if in.outbox.Owns(path) {
		return fmt.Errorf("import: %s belongs to the outbox's database; name a file with assessments", path)
	}
	return nil
}

func (in *importing) readSDTM(cmd *importCommand) error {
	for _, name := range []string{"tu.csv", "tr.csv", "rs.csv"} {
		if err := in.refuseDatabase(filepath.Join(cmd.SDTM, name)); err != nil {
			return err
		}
	}
	bar := console.NewProgress(in.term, "reading", sizeOf(cmd.SDTM))
	defer bar.End()
	return sdtm.Read(in.ctx, cmd.SDTM, sdtm.Options{
		Evaluator: cmd.Evaluator, CaseOffset: cmd.CaseOffset, Progress: bar.Add,
	}, in.outbox, in.add)
}

func (in *importing) readFile(path string) error {
	if err := in.refuseDatabase(path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		if info.IsDir() {
			return fmt.Errorf("import: %s is a directory; use --sdtm to read SDTM from a directory", path)
		}
		size = info.Size()
	}
	bar := console.NewProgress(in.term, "reading", size)
	defer bar.End()
	return intake.ReadFrom(in.ctx, &meter{f, bar.Add}, path, in.add)
}

// sizeOf returns the size of the files in the directory, 0 if it cannot be read.
func sizeOf(dir string) (bytes int64) {
	files, _ := os.ReadDir(dir) // reading the directory reports the error
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// meter reports the number of bytes read.
type meter struct {
	r   io.Reader
	add func(bytes int)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.add(n)
	return n, err
}

// add adds a record to the batch, and registers the batch when it is full.
func (in *importing) add(r intake.Record) error {
	for _, w := range r.Warnings {
		in.remark("warning", &in.Warnings, r, "", w)
	}
	if r.Err != nil {
		in.refuse(r, r.Err)
		return nil
	}
	in.batch = append(in.batch, r)
	if len(in.batch) < importBatch {
		return nil
	}
	return in.flush()
}

// flush registers the batch.
func (in *importing) flush() error {
	if len(in.batch) == 0 {
		return nil
	}
	submissions := make([]events.Submission, len(in.batch))
	for i, r := range in.batch {
		submissions[i] = r.Submission
	}
	results, err := in.outbox.Register(in.ctx, console.Operator(), submissions)
	if err != nil {
		return err
	}
	for i, r := range results {
		switch {
		case r.Err != nil:
			in.refuse(in.batch[i], r.Err)
		case r.Outcome == outbox.Unchanged:
			in.Unchanged++
		default:
			in.Taken++
		}
	}
	in.batch = in.batch[:0]
	return nil
}

func (in *importing) refuse(r intake.Record, err *events.Error) {
	in.Refused++
	in.remark("refused", &in.Refusals, r, err.Field, err.Message)
}

func (in *importing) remark(word string, list *[]remark, r intake.Record, field, message string) {
	if !in.text {
		if len(*list) < maxRemarks {
			*list = append(*list, remark{r.File, r.Line, field, message})
		}
		return
	}
	if field != "" {
		message = field + ": " + message
	}
	fmt.Fprintf(in.term.Err, "%s: %s: %s\n", r.Place(), word, message)
}
