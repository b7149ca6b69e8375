// Package sdtm reads response assessments from the CDISC SDTM tumour domains:
// TR (tumour results), TU (tumour identification) and RS (disease response).
//
// A visit of a subject becomes an assessment, with the sum of diameters and its
// changes computed as RECIST 1.1 requires, in exact decimals. Only what is certain
// becomes part of it. A visit whose rows are malformed or contradict each other is
// refused with file, line and column, and so are later visits whose changes depend
// on it; the others are read. What the package leaves out, replaces or reorders is
// a warning. README.md in package intake describes columns and rules.
//
// The evaluator of a row is who assessed it (--EVAL and --EVALID); one import reads
// the rows of one evaluator. A case is the number under which all assessments of
// one subject are registered. The delivery is the three files of one import. A
// visit is absent if it is registered but the delivery has no rows of it.
//
// The delivery may have all visits or only new ones. Absent visits of the case
// come from the Registry and are compared with the others. A visit that is
// imported again keeps its assessment id. The package registers nothing. The
// records of one evaluator are kept in memory, up to 256 MiB.
package sdtm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// Investigator is the evaluator whose records are read by default.
const Investigator = "INVESTIGATOR"

// Registry finds what was registered before.
type Registry interface {
	// Visits returns all assessments of a study, whatever their source.
	Visits(ctx context.Context, study string) ([]events.KnownVisit, error)
	// VisitsByID returns those of the ids that are registered, in any study, with
	// the assessment of each.
	VisitsByID(ctx context.Context, ids []string) (map[string]events.KnownVisit, error)
}

// Options select the records to read and number the assessments.
type Options struct {
	Evaluator  string      // TREVAL, or TREVAL/TREVALID. Defaults to INVESTIGATOR.
	CaseOffset int         // New cases are numbered from CaseOffset + 1.
	Study      string      // Visits of other studies are refused. Defaults to any study.
	Progress   func(n int) // Called after every n bytes read; may be nil.
}

// Read reads tu.csv, tr.csv and rs.csv in the directory dir, and calls emit with
// an assessment, or its refusal, for each visit for which TR has records of the
// evaluator.
//
// A subject or visit that was imported before keeps its case number and
// assessment id. A new case gets the next free number, and a new visit the
// lowest free id from the case number times 100 on. A visit that has changed
// since it was signed becomes the next revision of its assessment.
//
// Where a row is malformed, its visit is refused, and with it later visits of
// the subject whose changes cannot be known without it. A refused visit keeps its
// place in the order of visits, so that the names and timepoints of the other
// visits remain the same when the row is corrected. A row without a subject or
// visit is refused alone, with a warning at the visits of the rows around it.
//
// New visits may change the name, timepoint or changes of an absent visit. Then
// Read calls emit with all assessments of the case, in the case's next revision.
func Read(ctx context.Context, dir string, opts Options, reg Registry, emit func(intake.Record) error) error {
	return ReadFrom(ctx, os.DirFS(dir), dir, opts, reg, emit)
}

// ReadFrom is Read for any file system. In the records, name is used in place
// of the directory; it may be empty.
func ReadFrom(ctx context.Context, files fs.FS, name string, opts Options, reg Registry, emit func(intake.Record) error) error {
	opts.Evaluator = cmp.Or(opts.Evaluator, Investigator)
	if opts.CaseOffset < 0 {
		return events.Errorf(events.Invalid, "the case offset must not be negative")
	}
	im := &importer{
		ctx: ctx, files: files, name: name, opts: opts, registry: reg, emit: emit,
		data: newDataset(opts.Evaluator), assigned: map[string]events.KnownVisit{},
	}
	err := im.run()
	var refusal *intake.Refusal
	if errors.As(err, &refusal) {
		return emit(refusal.Record(""))
	}
	return err
}

// importer is the state of one call of ReadFrom.
type importer struct {
	ctx      context.Context
	files    fs.FS
	name     string
	opts     Options
	registry Registry
	emit     func(intake.Record) error
	data     *dataset
	assigned map[string]events.KnownVisit // assessments by ids that this import assigned
}

// run reads the three files, then emits the assessments study by study. It reads
// TR first, because only subjects with rows in TR have visits. Its error is a
// *Refusal where a file cannot be read to its end or TR has no row of the
// evaluator; then no assessment is emitted.
func (im *importer) run() error {
	for _, d := range []domain{resultsDomain, lesionsDomain, responsesDomain} {
		if err := im.readDomain(d); err != nil {
			return err
		}
		err := im.data.endDomain(d, im.path(d.file))
		for _, refusal := range im.data.undecided { // those that endDomain has left
			if err := im.emit(refusal.Record("")); err != nil {
				return err
			}
		}
		im.data.undecided = nil
		if err != nil {
			return err
		}
	}
	for _, study := range slices.Sorted(maps.Keys(im.data.studies)) {
		if err := im.emitStudy(study); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) path(file string) string { return filepath.Join(im.name, file) }

// readDomain reads the evaluator's rows of one file. A row that is malformed is
// refused and does not end the file.
func (im *importer) readDomain(d domain) error {
	f, err := im.files.Open(d.file)
	if errors.Is(err, fs.ErrNotExist) {
		return &events.Error{Code: events.NotFound, Message: intake.Quoted(im.path(d.file)) + " is missing; the directory must have tu.csv, tr.csv and rs.csv", Err: err}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", intake.Quoted(im.path(d.file)), err)
	}
	defer func() { _ = f.Close() }() // only read
	t, err := openTable(im.path(d.file), progressReader{f, im.opts.Progress}, d)
	if err != nil {
		return err
	}
	var refused refusedRow
	for err == nil {
		if err = im.ctx.Err(); err == nil {
			err = im.readRow(d, t, &refused)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readRow reads one row and stores it, or emits its refusal. It skips rows of other
// evaluators and duplicates. Its error is io.EOF at the end of the file, and a
// *Refusal where the rest of the file cannot be read.
func (im *importer) readRow(d domain, t *table, refused *refusedRow) error {
	r, err := t.next()
	withoutEvaluator := false
	if err == nil {
		if d.file == responsesDomain.file { // rows of any evaluator show whether the file uses RSCAT
			im.data.responses.categories = im.data.responses.categories || r.get("RSCAT") != ""
		}
		var read bool
		if read, withoutEvaluator = im.data.inFile.accept(d, r); !read || im.data.isDuplicate(d, r) {
			return nil
		}
	}
	var at place
	if err == nil {
		at, err = im.data.add(d, r, withoutEvaluator)
	}
	if err == nil {
		refused.next(at)
		return nil
	}
	var refusal *intake.Refusal
	if !errors.As(err, &refusal) || t.input.exceeded || im.data.full() {
		return err
	}
	refused.set(refusal)
	if withoutEvaluator { // only the end of the file shows whether the row is the evaluator's
		im.data.undecided = append(im.data.undecided, refusal)
		im.data.size += rowSize
		return nil
	}
	return im.emit(refusal.Record(""))
}

// emitStudy emits the assessments of one study.
func (im *importer) emitStudy(study string) error {
	stored, err := im.registry.Visits(im.ctx, study)
	if err != nil {
		return err
	}
	numbers := newNumbering(im.opts, im.registry, im.assigned, stored)
	subjects := im.data.studies[study]
	for _, id := range slices.Sorted(maps.Keys(subjects)) {
		if err := im.emitSubject(subjects[id], numbers); err != nil {
			return err
		}
	}
	return nil
}

// emitSubject emits the assessments of one subject: all delivered visits and, where
// the case gets a new revision, the absent ones too.
func (im *importer) emitSubject(s *subject, numbers *numbering) error {
	delivered := s.visits()
	if im.opts.Study != "" && s.study != im.opts.Study {
		for _, v := range delivered {
			v.refusal = &intake.Refusal{Line: v.line, Err: events.Fieldf("STUDYID", "the record is of study %q, not %q", s.study, im.opts.Study)}
		}
		return im.emitVisits(delivered)
	}
	if len(delivered) == 0 { // all its rows were refused
		_, _, _ = numbers.caseOf(s.id) // reserves the case number that it will have when the rows are corrected
		s.conclude(nil)                // warns of its responses
		im.data.warnings = append(im.data.warnings, s.warnings...)
		return nil
	}
	registered := numbers.match(s.id, delivered)
	all := s.arrange(delivered, registered)
	delivered = slices.DeleteFunc(slices.Clone(all), func(v *visit) bool { return v.absent })
	if err := numbers.assign(im.ctx, delivered); err != nil {
		return err
	}
	validate(delivered) // before reviseCase, which revises no case with a refused visit
	s.reviseCase(all, registered)
	s.distributeWarnings(delivered)
	all = slices.DeleteFunc(all, func(v *visit) bool { return v.absent && !v.registerAgain })
	validate(all)
	return im.emitVisits(all)
}

// validate refuses the visits that are no valid assessments. A delivered visit is
// validated once.
func validate(visits []*visit) {
	for _, v := range visits {
		if v.refusal != nil || v.validated {
			continue
		}
		if err := v.assessment.Validate(); err != nil {
			v.refuse(v.line, withColumn(err))
		}
		v.validated = !v.absent
	}
}

// emitVisits emits the visits in their order.
func (im *importer) emitVisits(visits []*visit) error {
	for _, v := range visits {
		if err := im.emitVisit(v); err != nil {
			return err
		}
	}
	return nil
}

// emitVisit emits the assessment of a visit, or its refusal. The first Record that
// is emitted also gets the warnings that belong to no subject.
func (im *importer) emitVisit(v *visit) error {
	r := intake.Record{File: im.path(resultsDomain.file), Line: v.line}
	switch {
	case v.refusal != nil:
		r = v.refusal.Record(resultsDomain.file)
		r.File = im.path(r.File)
	case v.absent:
		r.Submission = events.Submission{Assessment: v.assessment, Visit: v.stored.Visit}
	default:
		r.Submission = events.Submission{Assessment: v.assessment, Visit: v.key(im.opts.Evaluator)}
	}
	r.Warnings = append(im.data.warnings, v.warnings...)
	im.data.warnings = nil
	return im.emit(r)
}

// progressReader calls report, unless it is nil, with the size of each read.
type progressReader struct {
	io.Reader
	report func(n int)
}

func (p progressReader) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.report != nil && n > 0 {
		p.report(n)
	}
	return n, err
}
