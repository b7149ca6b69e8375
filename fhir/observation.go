package fhir

import (
	"crypto/sha256"
	"encoding/base32"

	"github.com/seed-e88a4ece/signoff/events"
)

// EncodeObservations writes the assessment's lesions as a Bundle (collection)
// of Observations, in the order of the report's references to them. Version
// and LastUpdated are those of the event that carries the Bundle. The entries
// have no fullUrl: it would depend on the address of an installation.
//
// What the source did not send is left out. Errors are as in Encode.
func (r Report) EncodeObservations() ([]byte, error) {
	e := encoder{out: make([]byte, 0, 64+2048*len(r.Assessment.Lesions))}
	e.raw(`{"resourceType":"Bundle","type":"collection"`)
	for i, l := range r.Assessment.Lesions {
		e.next(i, `,"entry":[`)
		e.raw(`{"resource":`)
		e.observation(r, l)
		e.raw(`}`)
	}
	e.close(len(r.Assessment.Lesions))
	e.raw(`}`)
	return e.bytes()
}

// observation appends the Observation of a lesion.
func (e *encoder) observation(r Report, l events.Lesion) {
	a := r.Assessment
	identifier := LesionIdentifier(a, l.ID)
	e.raw(`{"resourceType":"` + typeObservation + `","id":`)
	e.text(ObservationID(identifier))
	e.meta(r.Version, r.LastUpdated)
	e.raw(`,"extension":[`)
	e.lesion(a, l)
	e.raw(`]`)
	e.identity(SystemLesion, identifier, statusFinal, imaging, codeLesion)
	e.subject(a.Subject, a.Effective)
	if l.Value != "" {
		e.raw(`,"valueQuantity":{"value":`)
		e.decimal(l.Value)
		e.raw(`,"unit":`)
		e.text(l.Unit)
		e.raw(`}`)
	}
	e.raw(`}`)
}

// lesion appends the extensions of an Observation.
func (e *encoder) lesion(a events.Assessment, l events.Lesion) {
	e.extText(extProtocol, a.Study)
	e.extText(extSponsorLesion, a.SponsorStudy)
	e.extOptional(extOrgan, l.Organ)
	e.extOptional(extCategory, l.Category)
	e.extOptional(extState, l.State)
	e.extOptionalInteger(extSeriesNumber, l.SeriesNumber)
	e.extOptional(extSeriesText, l.SeriesDescription)
	e.extOptionalInteger(extInstanceNumber, l.InstanceNumber)
	e.extOptional(extModality, l.Modality)
	e.extOptional(extLabel, l.Label)
	e.extOptional(extFromPrevious, l.ChangeFromPrevious)
	e.extOptional(extFromBaseline, l.ChangeFromBaseline)
	e.extOptional(extFromNadir, l.ChangeFromNadir)
}

// extOptional appends an extension with a string, unless that is empty.
func (e *encoder) extOptional(name, value string) {
	if value != "" {
		e.extText(name, value)
	}
}

// extOptionalInteger appends an extension with a number, unless that is nil.
func (e *encoder) extOptionalInteger(name string, value *int32) {
	if value != nil {
		e.extInteger(name, *value)
	}
}

var lowerBase32Hex = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// ObservationID returns the FHIR id of the Observation of a lesion. It is the lesion's
// identifier if that is a valid FHIR id, else "l-" and the lower-case base32hex of the
// identifier's SHA-256.
func ObservationID(identifier string) string {
	if events.ValidFHIRID(identifier) {
		return identifier
	}
	sum := sha256.Sum256([]byte(identifier))
	return "l-" + lowerBase32Hex.EncodeToString(sum[:])
}
