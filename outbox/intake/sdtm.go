package intake

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// Investigator is the evaluator whose records are read unless another is named.
const Investigator = "INVESTIGATOR"

// Registry says what is known already, so that an import finds the assessments
// it made before.
type Registry interface {
	// Visits gives all assessments of a study, wherever they came from.
	Visits(ctx context.Context, study string) ([]events.KnownVisit, error)
	// Holder gives, of the assessment ids asked for, those that are in use in
	// any study, with what uses them.
	Holder(ctx context.Context, ids []string) (map[string]events.KnownVisit, error)
}

// SDTMOptions says what to read of SDTM and how to number it.
type SDTMOptions struct {
	Evaluator  string      // TREVAL, or TREVAL/TREVALID. Defaults to INVESTIGATOR.
	CaseOffset int         // new cases are numbered from CaseOffset + 1
	Progress   func(n int) // told of every n bytes read; may be nil
}

// ReadSDTM reads tu.csv, tr.csv and rs.csv in the directory dir and hands on
// an assessment for each visit of a subject that the evaluator has TR records
// of, or the refusal of one.
//
// A subject or visit that is known keeps its case and its assessment id. A new
// case takes the next free number, a new visit the lowest free id of those
// from the case's number times 100. A visit that changed since it was signed
// is the next revision of its assessment.
//
// A visit with a malformed row is refused. Later visits of the subject are
// refused with it where their changes cannot be known without it; they still
// count in its numbering, so that names and timepoints stay what they will be
// once the row is repaired. A row that names no subject or visit is refused
// alone, with a warning at the visits of the rows around it.
func ReadSDTM(ctx context.Context, dir string, opts SDTMOptions, reg Registry, emit func(Record) error) error {
	return ReadSDTMFrom(ctx, os.DirFS(dir), dir, opts, reg, emit)
}

// ReadSDTMFrom is ReadSDTM for files that are in no directory on disk. Name is
// put before the names of the files in the records; it may be empty.
func ReadSDTMFrom(ctx context.Context, files fs.FS, name string, opts SDTMOptions, reg Registry, emit func(Record) error) error {
	opts.Evaluator = cmp.Or(opts.Evaluator, Investigator)
	if opts.CaseOffset < 0 {
		return events.Errorf(events.Invalid, "the case offset must not be negative")
	}
	i := &sdtm{ctx: ctx, files: files, name: name, opts: opts, registry: reg, emit: emit, data: newDataset(opts.Evaluator), given: map[string]events.KnownVisit{}}
	err := i.run()
	var f *Refusal
	if errors.As(err, &f) {
		return i.refuse(f)
	}
	return err
}

// sdtm is one import.
type sdtm struct {
	ctx      context.Context
	files    fs.FS
	name     string
	opts     SDTMOptions
	registry Registry
	emit     func(Record) error
	data     *dataset
	given    map[string]events.KnownVisit // assessment ids that are new
}

// run gives a *Refusal where nothing at all can be imported.
func (i *sdtm) run() error {
	for _, d := range []domain{findingsDomain, lesionsDomain, responsesDomain} {
		if err := i.readDomain(d); err != nil {
			return err
		}
		if err := i.data.complete(d, i.path(d.file)); err != nil {
			return err
		}
	}
	for _, study := range slices.Sorted(maps.Keys(i.data.studies)) {
		if err := i.readStudy(study); err != nil {
			return err
		}
	}
	return nil
}

func (i *sdtm) path(file string) string { return filepath.Join(i.name, file) }

// readDomain collects the evaluator's rows of one file.
func (i *sdtm) readDomain(d domain) error {
	f, err := i.files.Open(d.file)
	if errors.Is(err, fs.ErrNotExist) {
		return &events.Error{Code: events.NotFound, Message: i.path(d.file) + " is missing; a directory with tu.csv, tr.csv and rs.csv is wanted", Err: err}
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	t, err := openTable(i.path(d.file), meter{f, i.opts.Progress}, d.columns)
	if err != nil {
		return err
	}
	var lost lostRow
	for err == nil {
		if err = i.ctx.Err(); err == nil {
			err = i.readRow(d, t, &lost)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readRow reads one row. Its error is io.EOF at the end of the file, and a
// *Refusal where the file cannot be read on.
func (i *sdtm) readRow(d domain, t *table, lost *lostRow) error {
	r, err := t.next()
	if err == nil && !i.data.concerns(d, r) {
		return nil
	}
	var at place
	if err == nil {
		at, err = i.data.add(d, r)
	}
	if err == nil {
		lost.around(at)
		return nil
	}
	var f *Refusal
	if !errors.As(err, &f) || t.bound.exceeded || i.data.full() {
		return err
	}
	lost.row(f)
	return i.refuse(f)
}

// readStudy hands on the assessments of one study.
func (i *sdtm) readStudy(study string) error {
	known, err := i.registry.Visits(i.ctx, study)
	if err != nil {
		return err
	}
	cases := newCasebook(i.opts, i.registry, i.given, known)
	subjects := i.data.studies[study]
	for _, id := range slices.Sorted(maps.Keys(subjects)) {
		visits := subjects[id].visits()
		if err := cases.number(i.ctx, visits); err != nil {
			return err
		}
		for _, v := range visits {
			if err := i.handOn(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// handOn hands on the assessment of a visit, or its refusal.
func (i *sdtm) handOn(v *visit) error {
	if v.fault == nil {
		if err := v.assessment.Validate(); err != nil {
			v.refuse(v.line, sdtmColumn(err))
		}
	}
	r := Record{File: i.path(findingsDomain.file), Line: v.line, Warnings: v.warnings}
	if v.fault == nil {
		r.Submission = events.Submission{Assessment: v.assessment, Visit: v.key(i.opts.Evaluator)}
		return i.emit(r)
	}
	r.File, r.Line, r.Err = i.path(cmp.Or(v.fault.File, findingsDomain.file)), v.fault.Line, v.fault.Err
	return i.emit(r)
}

func (i *sdtm) refuse(f *Refusal) error {
	return i.emit(Record{File: f.File, Line: f.Line, Err: f.Err})
}

// meter tells of what is read through it.
type meter struct {
	r    io.Reader
	tell func(n int)
}

func (m meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.tell != nil && n > 0 {
		m.tell(n)
	}
	return n, err
}
