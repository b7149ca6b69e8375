package fhir

import (
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// ObservationInput is a lesion as a source system sends it: an Observation
// beside the report that refers to it. The identifier
// {case}-{assessment}-{lesion} alone does not identify the report, because
// the id of an assessment may have hyphens. Fill compares it with a report.
type ObservationInput struct {
	Identifier string        // see LesionIdentifier
	Study      string        // study id, NFC
	Subject    string        // without Patient/
	Lesion     events.Lesion // all but its ID
}

// ParseObservation reads a lesion from an Observation as a source system sends it. The
// form is that which EncodeObservations writes; id, meta and code may be missing. The
// date must be a dateTime and is ignored, because a lesion has that of its assessment.
// The error is an Invalid events.Error with the FHIR path as its Field.
func ParseObservation(data []byte) (ObservationInput, error) {
	d := observationDocument{document: document{kind: typeObservation, system: SystemLesion, category: imaging}}
	if err := d.read(data, d.other); err != nil {
		return ObservationInput{}, err
	}
	if err := d.check(); err != nil {
		return ObservationInput{}, err
	}
	return d.input()
}

// Fill copies the lesion into the assessment and reports whether the assessment
// has it. An Observation of one of its lesions but of another study or subject
// is an Invalid events.Error.
func (o ObservationInput) Fill(a *events.Assessment) (bool, error) {
	id, ok := strings.CutPrefix(o.Identifier, lesionPrefix(*a))
	if !ok {
		return false, nil
	}
	for i := range a.Lesions {
		if a.Lesions[i].ID != id {
			continue
		}
		if o.Study != a.Study {
			return false, events.Fieldf("extension", "the Observation %s is of study %s, its report of %s", o.Identifier, o.Study, a.Study)
		}
		if o.Subject != a.Subject {
			return false, events.Fieldf("subject.reference", "the Observation %s is of subject %s, its report of %s", o.Identifier, o.Subject, a.Subject)
		}
		a.Lesions[i] = o.Lesion
		a.Lesions[i].ID = id
		return true, nil
	}
	return false, nil
}

// observationDocument is an Observation while it is read.
type observationDocument struct {
	document
	value events.Decimal
	unit  string
}

// other reads an element that a report does not have, and skips meta and code.
func (d *observationDocument) other(name []byte) error {
	switch string(name) {
	case "valueQuantity":
		return d.object(d.readQuantity)
	case "meta", "code":
		return d.Skip()
	default:
		return unsupported()
	}
}

// readQuantity reads a member of valueQuantity. The unit may also be given as a code
// of UCUM.
func (d *observationDocument) readQuantity(name []byte) error {
	switch string(name) {
	case "value":
		digits, err := d.Number()
		d.value = events.Decimal(digits)
		return err
	case "unit":
		return d.text(&d.unit)
	case "code":
		return d.constant(events.Unit)
	case "system":
		return d.constant("http://unitsofmeasure.org")
	default:
		return unsupported()
	}
}

// check checks the elements that do not become part of the lesion.
func (d *observationDocument) check() error {
	if d.status != statusFinal {
		return events.Fieldf("status", "%.100q must be %q", d.status, statusFinal)
	}
	if d.id != "" && d.id != ObservationID(d.identifier) {
		return events.Fieldf("id", "%.100q is not the id that belongs to %.100q", d.id, d.identifier)
	}
	if err := events.ValidDateTime(d.effective); err != nil {
		return strictjson.Within("effectiveDateTime", err)
	}
	return nil
}

// input returns the lesion from the elements and extensions, validated.
func (d *observationDocument) input() (ObservationInput, error) {
	x := &d.extensions
	optional := func(field, name string) string { return x.optional(field, name, valueString) }
	a := events.Assessment{Study: x.text("study", extProtocol)}
	a.Normalize()
	optional("sponsorStudy", extSponsorLesion) // allowed and not used
	l := events.Lesion{
		ID:                 d.identifier,
		Organ:              optional("lesion.organ", extOrgan),
		Category:           optional("lesion.category", extCategory),
		State:              optional("lesion.state", extState),
		SeriesNumber:       x.optionalInteger("lesion.seriesNumber", extSeriesNumber),
		SeriesDescription:  optional("lesion.seriesDescription", extSeriesText),
		InstanceNumber:     x.optionalInteger("lesion.instanceNumber", extInstanceNumber),
		Modality:           optional("lesion.modality", extModality),
		Label:              optional("lesion.label", extLabel),
		ChangeFromPrevious: optional("lesion.changeFromPrevious", extFromPrevious),
		ChangeFromBaseline: optional("lesion.changeFromBaseline", extFromBaseline),
		ChangeFromNadir:    optional("lesion.changeFromNadir", extFromNadir),
		Value:              d.value,
		Unit:               d.unit,
	}
	if err := x.end(); err != nil {
		return ObservationInput{}, err
	}
	if err := l.Validate("lesion"); err != nil {
		return ObservationInput{}, d.locate(err)
	}
	l.ID = "" // Validate needed one; Fill sets it
	return ObservationInput{Identifier: d.identifier, Study: a.Study, Subject: d.subject, Lesion: l}, nil
}
