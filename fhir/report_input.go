package fhir

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// ParseReport reads an assessment from a DiagnosticReport as a source system sends
// it. The form is that which Encode writes. The elements that sign-off adds may be
// missing: id, meta, code, issued and resultsInterpreter. If there is an id, it must
// be the assessment's; the others are ignored. Extensions may come in any order, but
// the first #RevisionNumber is the case's and the second the assessment's.
//
// The assessment is normalised and valid; of its lesions it has only the ids.
// The error is an Invalid events.Error whose Field is the path in the FHIR JSON,
// such as extension[5].valueInteger.
func ParseReport(data []byte) (events.Assessment, error) {
	d, err := readReport(data, (*reportDocument).skipSigned)
	if err != nil {
		return events.Assessment{}, err
	}
	if d.status != statusFinal {
		return events.Assessment{}, events.Fieldf("status", "%.100q must be %q", d.status, statusFinal)
	}
	return d.assessment()
}

// reportDocument is a DiagnosticReport while it is read.
type reportDocument struct {
	document
	displays   []string // of the results
	conclusion string
	withdrawal string
	signed     Report // what sign-off added; empty after ParseReport, which skips it
}

// readReport reads a report but does not interpret its extensions. It calls signed for
// each element that is not in a source system's report; signed reads or refuses it.
func readReport(data []byte, signed func(d *reportDocument, name []byte) error) (*reportDocument, error) {
	d := &reportDocument{document: document{kind: typeReport, system: SystemAssessment, category: radiology}}
	err := d.read(data, func(name []byte) error {
		switch string(name) {
		case "result":
			return d.array(func(int) error { return d.readResult() })
		case "conclusion":
			return d.text(&d.conclusion)
		default:
			return signed(d, name)
		}
	})
	if err == nil {
		err = d.require("conclusion")
	}
	if err == nil && d.id != "" && d.id != d.identifier {
		err = events.Fieldf("id", "%.100q differs from the identifier, %.100q", d.id, d.identifier)
	}
	return d, err
}

// skipSigned skips an element that sign-off adds, and refuses any other.
func (d *reportDocument) skipSigned(name []byte) error {
	switch string(name) {
	case "meta", "code", "issued", "resultsInterpreter":
		return d.Skip()
	default:
		return unsupported()
	}
}

// readResult reads a reference to a lesion. The display is the lesion's identifier; the
// reference may be missing, or must end in id= and the same identifier.
func (d *reportDocument) readResult() error {
	var reference []byte
	var display string
	err := d.object(func(name []byte) (err error) {
		switch string(name) {
		case "reference":
			reference, err = d.Bytes()
			return err
		case "display":
			return d.text(&display)
		default:
			return unsupported()
		}
	})
	if err != nil {
		return err
	}
	if display == "" {
		return events.Fieldf("display", "is missing")
	}
	if reference != nil && !endsInID(reference, display) && !endsInID(reference, EscapeQuery(display)) {
		return events.Fieldf("reference", "%.200q must end in id=%.200s, like the display", reference, display)
	}
	d.displays = append(d.displays, display)
	return nil
}

// endsInID reports whether a reference ends in id= and the id.
func endsInID(reference []byte, id string) bool {
	query, ok := bytes.CutSuffix(reference, []byte(id))
	return ok && bytes.HasSuffix(query, []byte("id="))
}

// assessment returns the assessment from the elements and extensions, normalised and
// validated.
func (d *reportDocument) assessment() (events.Assessment, error) {
	x := &d.extensions
	a := events.Assessment{
		ID:           d.identifier,
		Study:        x.text("study", extProtocol),
		SponsorStudy: x.text("sponsorStudy", extSponsorReport),
		Case:         events.Case{ID: x.integer("case.id", extCaseID), Revision: x.integer("case.revision", extRevision)},
		TrialName:    x.text("trialName", extTrialName),
		Criteria:     x.text("criteria", extTrialArm),
		RevisionDate: x.optional("revisionDate", extRevisionDate, valueDateTime),
		Revision:     x.integer("revision", extRevision),
		Name:         x.text("name", extName),
		Timepoint:    x.integer("timepoint", extTimepoint),
		Measurement:  x.measurement(),
		Subject:      d.subject,
		Effective:    d.effective,
		Conclusion:   d.conclusion,
	}
	if d.withdrawn() {
		d.withdrawal = x.text("reason", extWithdrawalReason)
	}
	if err := x.end(); err != nil {
		return events.Assessment{}, err
	}
	mismatch := d.lesions(&a)
	a.Normalize()
	if err := a.Validate(); err != nil {
		return events.Assessment{}, d.locate(err)
	}
	if mismatch != nil { // reported last: an invalid id is the likely cause of it
		return events.Assessment{}, mismatch
	}
	return a, nil
}

func (d *reportDocument) withdrawn() bool { return d.status == statusWithdrawn }

// measurement returns the sum of diameters and its changes, or nil if there is no sum.
// Without a sum there must be no unit, the kind of measurement must be the known one,
// and each change must be "--".
func (x *extensions) measurement() *events.Measurement {
	m := events.Measurement{
		Type:  x.text("measurement.type", extQuantity),
		Value: events.Decimal(x.optional("measurement.value", extCurrentValue, valueDecimal)),
	}
	if m.Value != "" {
		m.Unit = x.text("measurement.unit", extUnit)
	}
	m.ChangeFromPrevious = x.text("measurement.changeFromPrevious", extFromPrevious)
	m.ChangeFromBaseline = x.text("measurement.changeFromBaseline", extFromBaseline)
	m.ChangeFromNadir = x.text("measurement.changeFromNadir", extFromNadir)
	if m.Value != "" || x.err != nil { // after an error the result is not used
		return &m
	}
	const none = events.NoChange
	switch {
	case m.Type != events.MeasurementType:
		x.fail(events.Fieldf(x.path(x.index("measurement.type")), "%.100q must be %q", m.Type, events.MeasurementType))
	case x.optional("measurement.unit", extUnit, valueString) != "" || m.ChangeFromPrevious != none || m.ChangeFromBaseline != none || m.ChangeFromNadir != none:
		x.fail(events.Fieldf("extension", "lacks %s%s beside a unit or a change; without a value there is no unit and every change is %s", root, extCurrentValue, none))
	}
	return nil
}

// lesions adds the lesions to which the results refer, with nothing but their ids. An
// error is about an identifier that is not of this case and assessment.
func (d *reportDocument) lesions(a *events.Assessment) error {
	prefix := lesionPrefix(*a)
	a.Lesions = slices.Grow(a.Lesions, len(d.displays))
	for i, display := range d.displays {
		id, ok := strings.CutPrefix(display, prefix)
		if !ok {
			return events.Fieldf(resultPath(i), "%.200q does not start with %s, the case and the assessment", display, prefix)
		}
		a.Lesions = append(a.Lesions, events.Lesion{ID: id})
	}
	return nil
}

func resultPath(i int) string { return "result[" + strconv.Itoa(i) + "].display" }
