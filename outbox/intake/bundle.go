package intake

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// readReport reads a DiagnosticReport that stands in raw, of which n is the
// tree.
func readReport(raw []byte, n node) (assessment, error) {
	kind, ok := n.member("resourceType")
	if !ok {
		return assessment{}, faultf(n.line, events.Required, "resourceType", "is missing")
	}
	if kind.text != "DiagnosticReport" {
		return assessment{}, faultf(kind.line, events.Unsupported, "resourceType", "%s is not taken here; a DiagnosticReport is, and in a Bundle the Observations of its lesions", shown(kind.text))
	}
	a, err := fhir.ParseReport(raw[n.from:n.to])
	if err != nil {
		return assessment{}, located(err, n)
	}
	return a, nil
}

// isBundle reports whether a record, or its beginning, says that it is a
// Bundle. As in every FHIR server's output, the type must come before the
// entries if those are long.
func isBundle(beginning []byte) bool {
	if !bytes.Contains(beginning, []byte(`"Bundle"`)) {
		return false
	}
	found := errors.New("found")
	s := newSource(bytes.NewReader(beginning), 1)
	err := s.members(func(name string, _ int) error {
		p, err := s.value()
		if err == nil && name == "resourceType" && string(p.raw) == `"Bundle"` {
			return found
		}
		return err
	})
	return errors.Is(err, found)
}

// bundle is a FHIR Bundle while it is read. It is one document: nothing is
// handed on before its end, because the Observations that fill the lesions of
// a report may stand anywhere in it.
type bundle struct {
	reports      []entry[assessment]
	observations []entry[fhir.ObservationInput]
	refusals     []*fault
	incomplete   bool             // an Observation was refused that may be any lesion's
	byLesion     map[string][]int // reports by lesion identifier
}

// entry is the resource of a Bundle's entry with where it stands.
type entry[T any] struct {
	content T
	path    string
	line    int
}

// bundle reads a Bundle and hands on the reports in it.
func (d *document) bundle(p piece) error {
	if p.over {
		return d.refuse(faultf(p.line, events.TooLarge, "", "the Bundle has more than 64 MiB, or 1 MiB where it is not the whole file"))
	}
	var b bundle
	if err := b.read(p); err != nil {
		return d.refused(err)
	}
	b.fill()
	for _, f := range b.refusals {
		if err := d.refuse(f); err != nil {
			return err
		}
	}
	for _, r := range b.reports {
		if err := d.acceptReport(&b, r); err != nil {
			return err
		}
	}
	return nil
}

// acceptReport hands on a report. A lesion without Observation is fine unless
// it may be one that was refused.
func (d *document) acceptReport(b *bundle, r entry[assessment]) error {
	if r.line == 0 {
		return nil // refused with its Observation
	}
	bare := slices.IndexFunc(r.content.Lesions, func(l lesion) bool { return l == lesion{ID: l.ID} })
	if b.incomplete && bare >= 0 {
		field := fmt.Sprintf("%s.result[%d]", r.path, bare)
		return d.refuse(faultf(r.line, events.Invalid, field, "the Observation of lesion %s may be one that this Bundle has but that was refused", r.content.Lesions[bare].ID))
	}
	return d.accept(r.content, r.line, r.path+".identifier[0].value")
}

func (b *bundle) read(p piece) error {
	s := newSource(bytes.NewReader(p.raw), p.line)
	lines := map[string]int{}
	return s.members(func(name string, line int) error {
		if first, twice := lines[name]; twice {
			return faultf(line, events.Invalid, shown(name), "is there twice, first in line %d", first)
		}
		lines[name] = line
		if name == "entry" {
			return b.entries(s)
		}
		return b.envelope(s, name)
	})
}

func (b *bundle) entries(s *source) error {
	i := -1
	err := s.elements(func(p piece) error {
		i++
		b.entry(p, fmt.Sprintf("entry[%d]", i))
		return nil
	})
	var f *fault
	if errors.As(err, &f) {
		return f.within("entry")
	}
	return err
}

// envelope checks a member of the Bundle that is not its entries.
func (b *bundle) envelope(s *source, name string) error {
	p, err := s.value()
	if err != nil {
		return err
	}
	if p.over {
		return tooLarge(p.line).within(shown(name))
	}
	n, err := parse(p.raw, p.line)
	var f *fault
	if errors.As(err, &f) {
		return f.within(shown(name))
	}
	if name == "type" && n.text != "searchset" && n.text != "collection" {
		return faultf(n.line, events.Unsupported, name, "a Bundle of type %s is not taken; searchset and collection are", shown(n.text))
	}
	return nil
}

// entry reads one entry of the Bundle.
func (b *bundle) entry(p piece, path string) {
	whole, err := node{}, error(tooLarge(p.line))
	if !p.over {
		whole, err = parse(p.raw, p.line)
	}
	if err != nil {
		b.incomplete = b.incomplete || bytes.Contains(p.raw, []byte(`"Observation"`))
		b.refuse(err, path)
		return
	}
	path += ".resource"
	n, ok := whole.member("resource")
	if !ok {
		b.refuse(faultf(whole.line, events.Required, "", "is missing"), path)
	} else if err := b.resource(p.raw, n, path); err != nil {
		b.refuse(err, path)
	}
}

func (b *bundle) refuse(err error, path string) {
	var f *fault
	if errors.As(err, &f) {
		b.refusals = append(b.refusals, f.within(path))
	}
}

// resource reads the resource n, which stands in raw.
func (b *bundle) resource(raw []byte, n node, path string) error {
	if kind, _ := n.member("resourceType"); kind.text == "Observation" {
		return b.observation(raw[n.from:n.to], n, path)
	}
	a, err := readReport(raw, n)
	if err != nil {
		return err
	}
	b.addReport(entry[assessment]{content: a, path: path, line: n.line})
	return nil
}

func (b *bundle) addReport(r entry[assessment]) {
	if b.byLesion == nil {
		b.byLesion = map[string][]int{}
	}
	for _, l := range r.content.Lesions {
		id := fhir.LesionIdentifier(r.content, l.ID)
		b.byLesion[id] = append(b.byLesion[id], len(b.reports))
	}
	b.reports = append(b.reports, r)
}

func (b *bundle) observation(raw []byte, n node, path string) error {
	o, err := fhir.ParseObservation(raw)
	if err != nil {
		b.incomplete = true
		return located(err, n)
	}
	b.observations = append(b.observations, entry[fhir.ObservationInput]{content: o, path: path, line: n.line})
	return nil
}

// fill completes the lesions of the reports from the Observations.
func (b *bundle) fill() {
	lines := map[string]int{}
	for _, o := range b.observations {
		id := o.content.Identifier
		first, twice := lines[id]
		lines[id] = o.line
		switch {
		case twice:
			b.dropReports(id)
			b.refuse(faultf(o.line, events.Conflict, "identifier[0].value", "%s is in this Bundle twice, first in line %d", id, first), o.path)
		case len(b.byLesion[id]) == 0:
			b.refuse(faultf(o.line, events.Invalid, "identifier[0].value", "no report in this Bundle has the lesion %s", id), o.path)
		default:
			b.fillFrom(o)
		}
	}
}

func (b *bundle) fillFrom(o entry[fhir.ObservationInput]) {
	for _, i := range b.byLesion[o.content.Identifier] {
		if _, err := o.content.Fill(&b.reports[i].content); err != nil {
			b.refuse(&fault{line: o.line, err: asError(err, "")}, o.path)
			b.dropReports(o.content.Identifier)
			return
		}
	}
}

// dropReports refuses the reports of a lesion for the sake of its Observation,
// whose own refusal says why.
func (b *bundle) dropReports(lesionIdentifier string) {
	for _, i := range b.byLesion[lesionIdentifier] {
		r := &b.reports[i]
		if r.line != 0 {
			b.refuse(faultf(r.line, events.Conflict, "", "an Observation of its lesion %s was refused", lesionIdentifier), r.path)
		}
		r.line = 0
	}
}
