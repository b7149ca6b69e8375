package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

// importCommand registers assessments from files. They are published once a PI has
// signed them.
type importCommand struct {
	File       []string `arg:"" optional:"" help:"FHIR Bundle or DiagnosticReport, JSON, or NDJSON; - is standard input." placeholder:"FILE"`
	Format     string   `help:"What the files are: json, ndjson or fhir; default as their first bytes show." placeholder:"FORMAT"`
	Study      string   `help:"Refuse records of other studies." placeholder:"S"`
	DryRun     bool     `help:"Register, print the result, and undo it. Nobody can sign meanwhile."`
	SDTM       string   `name:"sdtm" help:"Directory with tu.csv, tr.csv and rs.csv." placeholder:"DIR"`
	Evaluator  string   `help:"With --sdtm: whose records, EVAL or EVAL/EVALID." placeholder:"E"`
	CaseOffset int      `help:"With --sdtm: new case numbers start above this one." placeholder:"N"`
}

// Validate returns a UsageError for flags that are malformed or contradict each other. It
// also normalizes the study id to NFC.
func (cmd *importCommand) Validate() error {
	formats := []string{"", string(intake.JSON), string(intake.NDJSON), string(intake.FHIR)}
	switch {
	case (len(cmd.File) > 0) == (cmd.SDTM != ""):
		return console.UsageError("name what to import: either files, or --sdtm DIR")
	case cmd.SDTM == "" && (cmd.Evaluator != "" || cmd.CaseOffset != 0):
		return console.UsageError("--evaluator and --case-offset need --sdtm")
	case cmd.SDTM != "" && cmd.Format != "":
		return console.UsageError("--format goes with files, not with --sdtm")
	case cmd.CaseOffset < 0:
		return console.UsageError("--case-offset must not be negative")
	case !slices.Contains(formats, cmd.Format):
		return console.UsageError(fmt.Sprintf("--format is json, ndjson or fhir, not %q", cmd.Format))
	}
	if cmd.Study = norm.NFC.String(cmd.Study); cmd.Study != "" {
		if err := events.ValidStudy(cmd.Study); err != nil {
			return console.UsageError(fmt.Sprintf("--study %q: %v", cmd.Study, err))
		}
	}
	return nil
}

func (cmd *importCommand) Run(ctx context.Context, c *common, t console.Terminal) error {
	in := &importing{DryRun: cmd.DryRun, Kinds: map[string]int{}, ctx: ctx, term: t, study: cmd.Study, text: !c.JSON}
	if err := cmd.register(ctx, c, in); err != nil {
		return err
	}
	if err := console.PrintFacts(t, in, func(w io.Writer) { fmt.Fprintln(w, in.summary()) }); err != nil {
		return err
	}
	if in.Refused > 0 {
		return console.ErrPartly
	}
	return nil
}

// register reads the files and registers what is in them. A dry run registers in a
// transaction that is rolled back, and without an outbox it uses a temporary one.
func (cmd *importCommand) register(ctx context.Context, c *common, in *importing) error {
	if !cmd.DryRun {
		return withNewOutbox(ctx, c, func(o *outbox.Outbox) error {
			in.outbox, in.register = o, o.Register
			return in.read(cmd)
		})
	}
	rehearse := func(o *outbox.Outbox) error {
		return o.Rehearse(ctx, func(register outbox.RegisterFunc) error {
			in.outbox, in.register = o, register
			return in.read(cmd)
		})
	}
	if c.outbox != nil {
		return rehearse(c.outbox)
	}
	dir := c.dir()
	if _, err := os.Stat(dir.Outbox()); errors.Is(err, fs.ErrNotExist) { // a dry run makes no outbox
		temporary, err := os.MkdirTemp("", "signoff-dry-run")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary) //nolint:errcheck // only temporary
		dir = datadir.Dir(temporary)
	}
	return dir.WithOutbox(ctx, rehearse)
}

// importing registers records in batches and counts the results.
type importing struct {
	DryRun    bool           `json:"dryRun,omitempty"`
	Taken     int            `json:"taken"`
	Unchanged int            `json:"unchanged"`
	Refused   int            `json:"refused"`
	Kinds     map[string]int `json:"warningKinds,omitempty"` // warnings by kind
	Refusals  []remark       `json:"refusals,omitempty"`
	Warnings  []remark       `json:"warnings,omitempty"`

	ctx      context.Context
	outbox   *outbox.Outbox
	register outbox.RegisterFunc
	term     console.Terminal
	study    string          // the only one that is registered; empty for all
	text     bool            // print remarks at once; false: collect them for the JSON
	records  int             // read so far, those that were refused too
	batch    []intake.Record // read and not registered yet
}

// remark is a refusal or a warning, with its place.
type remark struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Field   string `json:"field,omitempty"`
	Kind    string `json:"kind,omitempty"` // of a warning
	Message string `json:"message"`
}

// importBatch is how many records are registered in one transaction.
const importBatch = 500

// summary returns the counts of results, in one line.
func (in *importing) summary() string {
	text := fmt.Sprintf("%d registered, %d unchanged, %d refused", in.Taken, in.Unchanged, in.Refused)
	if in.DryRun {
		text = "dry run, nothing is registered: " + text
	}
	total := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(in.Kinds)) {
		total += in.Kinds[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, in.Kinds[kind]))
	}
	if total > 0 {
		text += fmt.Sprintf("; %s (%s)", console.Plural(total, "warning"), strings.Join(kinds, ", "))
	}
	return text
}

// read registers everything that the command names. Its error contains the summary: earlier
// batches stay registered.
func (in *importing) read(cmd *importCommand) error {
	if err := in.readAll(cmd); err != nil {
		return fmt.Errorf("%w (%s)", err, in.summary())
	}
	return nil
}

// readAll reads all files and registers the last batch.
func (in *importing) readAll(cmd *importCommand) error {
	if cmd.SDTM != "" {
		if err := in.readSDTM(cmd); err != nil {
			return err
		}
	}
	for _, path := range cmd.File {
		before := in.records
		if err := in.readFile(path, intake.Format(cmd.Format)); err != nil {
			return err
		}
		if in.records == before {
			in.refuse(intake.Record{File: path, Line: 1}, events.Errorf(events.Invalid, "there is no assessment in it; name a file that has some"))
		}
	}
	return in.flush()
}

// refuseDatabase returns an error if path is one of the outbox's own files, under whatever
// name. They must not be opened, because closing such a file releases the locks that this
// process has on the database.
func (in *importing) refuseDatabase(path string) error {
	if in.outbox.Owns(path) {
		return fmt.Errorf("import: %s belongs to the outbox's database; name a file with assessments", intake.Quoted(path))
	}
	return nil
}

// readSDTM reads a directory of SDTM files.
func (in *importing) readSDTM(cmd *importCommand) error {
	if info, err := os.Stat(cmd.SDTM); err != nil {
		return fmt.Errorf("import: %w; --sdtm names a directory with tu.csv, tr.csv and rs.csv", quotedPath(err))
	} else if !info.IsDir() {
		return fmt.Errorf("import: %s is no directory; --sdtm names one with tu.csv, tr.csv and rs.csv", intake.Quoted(cmd.SDTM))
	}
	for _, name := range []string{"tu.csv", "tr.csv", "rs.csv"} {
		if err := in.refuseDatabase(filepath.Join(cmd.SDTM, name)); err != nil {
			return err
		}
	}
	bar := console.NewProgress(in.term, "reading", sizeOf(cmd.SDTM))
	defer bar.End()
	return sdtm.Read(in.ctx, cmd.SDTM, sdtm.Options{
		Evaluator: cmd.Evaluator, CaseOffset: cmd.CaseOffset, Study: cmd.Study, Progress: bar.Add,
	}, in.outbox, in.add)
}

// readFile reads a file, or standard input if path is "-". Without a format, the first bytes
// show it.
func (in *importing) readFile(path string, format intake.Format) error {
	if path == "-" {
		return intake.ReadFormat(in.ctx, in.term.In, path, format, in.add)
	}
	if err := in.refuseDatabase(path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("import: %w", quotedPath(err))
	}
	defer f.Close() //nolint:errcheck // only read
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		if info.IsDir() {
			return fmt.Errorf("import: %s is a directory; use --sdtm to read SDTM from a directory", intake.Quoted(path))
		}
		size = info.Size()
	}
	bar := console.NewProgress(in.term, "reading", size)
	defer bar.End()
	return intake.ReadFormat(in.ctx, &meter{f, bar.Add}, path, format, in.add)
}

// quotedPath quotes the path in an error of the file system, as intake.Quoted does, so that
// a name with control characters cannot disturb the terminal. It changes and returns err.
func quotedPath(err error) error {
	var failure *fs.PathError
	if errors.As(err, &failure) {
		failure.Path = intake.Quoted(failure.Path)
	}
	return err
}

// sizeOf returns the size of the files in a directory, for the progress bar; 0 if it cannot
// be read.
func sizeOf(dir string) (bytes int64) {
	files, _ := os.ReadDir(dir) // reading the directory reports the error
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// meter is a reader that reports the number of bytes read to add.
type meter struct {
	r   io.Reader
	add func(bytes int)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.add(n)
	return n, err
}

// add adds a record to the batch, and registers the batch when it is full. A record that
// could not be read, or of another study, is refused and not added.
func (in *importing) add(r intake.Record) error {
	in.records++
	for _, w := range r.Warnings {
		in.Kinds[w.Kind]++
		in.remark("warning", &in.Warnings, remark{File: r.File, Line: r.Line, Kind: w.Kind, Message: w.Text})
	}
	if study := r.Submission.Assessment.Study; r.Err == nil && in.study != "" && study != in.study {
		r.Err = events.Fieldf("study", "the record is of study %q, not %q", study, in.study)
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

// flush registers the batch in one transaction, counts the results and empties the batch.
func (in *importing) flush() error {
	if len(in.batch) == 0 {
		return nil
	}
	submissions := make([]events.Submission, len(in.batch))
	for i, r := range in.batch {
		submissions[i] = r.Submission
	}
	results, err := in.register(in.ctx, console.Operator(), submissions)
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

// refuse counts a record that is not registered, and remarks why.
func (in *importing) refuse(r intake.Record, err *events.Error) {
	in.Refused++
	in.remark("refused", &in.Refusals, remark{File: r.File, Line: r.Line, Field: err.Field, Message: err.Message})
}

// remark prints a refusal or a warning, which word names. If the command prints JSON,
// remark adds it to list instead.
func (in *importing) remark(word string, list *[]remark, r remark) {
	if !in.text {
		*list = append(*list, r)
		return
	}
	message := r.Message
	if r.Field != "" {
		message = r.Field + ": " + message
	}
	fmt.Fprintf(in.term.Err, "%s: %s: %s\n", intake.Record{File: r.File, Line: r.Line}.Place(), word, message)
}
