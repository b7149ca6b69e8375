package fhir

import (
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Report is a signed assessment as partners receive it: a DiagnosticReport.
type Report struct {
	Assessment  events.Assessment
	Signature   events.Signature
	Version     uint64      // number, within the study, of the event that carries these bytes
	LastUpdated time.Time   // that event's time
	Withdrawal  *Withdrawal // nil unless the report is withdrawn
}

// Withdrawal is the reason for which a report was withdrawn, and the signature of the
// withdrawal.
type Withdrawal struct {
	Signature events.Signature
	Reason    string
}

// Encode returns the report as compact JSON: elements and extensions in a fixed
// order, numbers in the digits in which they were signed. The same report is
// always encoded as the same bytes. Lesions appear as references only.
//
// Encode does not validate the assessment. It returns an Invalid events.Error
// where the result would not be JSON, or the event's number or time is missing.
func (r Report) Encode() ([]byte, error) {
	a := r.Assessment
	e := encoder{out: make([]byte, 0, 2560+160*len(a.Lesions))}
	e.raw(`{"resourceType":"` + typeReport + `","id":`)
	e.text(a.ID)
	e.meta(r.Version, r.LastUpdated)
	e.raw(`,"extension":[`)
	e.assessment(a)
	status := statusFinal
	if r.Withdrawal != nil {
		status = statusWithdrawn
		e.withdrawal(*r.Withdrawal)
	}
	e.raw(`]`)
	e.identity(SystemAssessment, a.ID, status, radiology, codeReport)
	e.subject(a.Subject, a.Effective)
	e.signature(r.Signature)
	e.results(a)
	e.raw(`,"conclusion":`)
	e.text(a.Conclusion)
	e.raw(`}`)
	return e.bytes()
}

// assessment appends the extensions of the assessment in the order that partners were
// promised. RevisionNumber occurs twice: the case's first, then the assessment's. An
// extension without a value is left out.
func (e *encoder) assessment(a events.Assessment) {
	e.extText(extProtocol, a.Study)
	e.extText(extSponsorReport, a.SponsorStudy)
	e.extInteger(extCaseID, a.Case.ID)
	e.extText(extTrialName, a.TrialName)
	e.extText(extTrialArm, a.Criteria)
	e.extInteger(extRevision, a.Case.Revision)
	if a.RevisionDate != "" {
		e.extension(extRevisionDate, valueDateTime)
		e.text(a.RevisionDate)
		e.raw(`}`)
	}
	e.extInteger(extRevision, a.Revision)
	e.extText(extName, a.Name)
	e.extInteger(extTimepoint, a.Timepoint)
	e.measurement(a.Measurement)
}

// measurement appends the sum of diameters and its changes. Without a sum, that is,
// if m is nil, it appends only the kind of measurement and "--" for each change.
func (e *encoder) measurement(m *events.Measurement) {
	if m == nil {
		m = &events.Measurement{
			Type:               events.MeasurementType,
			ChangeFromPrevious: events.NoChange, ChangeFromBaseline: events.NoChange, ChangeFromNadir: events.NoChange,
		}
	}
	e.extText(extQuantity, m.Type)
	if m.Value != "" {
		e.extension(extCurrentValue, valueDecimal)
		e.decimal(m.Value)
		e.raw(`}`)
		e.extText(extUnit, m.Unit)
	}
	e.extText(extFromPrevious, m.ChangeFromPrevious)
	e.extText(extFromBaseline, m.ChangeFromBaseline)
	e.extText(extFromNadir, m.ChangeFromNadir)
}

// signature appends the signer, the time and the meaning of the signature (21 CFR
// 11.50).
func (e *encoder) signature(s events.Signature) {
	e.raw(`,"issued":`)
	e.instant(s.Time)
	e.raw(`,"resultsInterpreter":[{"extension":[`)
	e.extText(extMeaning, s.Meaning)
	e.raw(`],"identifier":{"value":`)
	e.text(s.User)
	e.raw(`},"display":`)
	e.text(s.Name)
	e.raw(`}]`)
}

// withdrawal appends two extensions: the signature of the withdrawal, with signer,
// meaning and time (21 CFR 11.50), and then the reason.
func (e *encoder) withdrawal(w Withdrawal) {
	e.raw(`,{"url":"` + root + extWithdrawal + `","extension":[{"url":"user","valueString":`)
	e.text(w.Signature.User)
	e.raw(`},{"url":"name","valueString":`)
	e.text(w.Signature.Name)
	e.raw(`},{"url":"meaning","valueString":`)
	e.text(w.Signature.Meaning)
	e.raw(`},{"url":"time","valueInstant":`)
	e.instant(w.Signature.Time)
	e.raw(`}]}`)
	e.extText(extWithdrawalReason, w.Reason)
}

// results appends a reference to each lesion's Observation.
func (e *encoder) results(a events.Assessment) {
	query := `{"reference":"Observation?researchstudy=` + EscapeQuery(a.Study) + `&category=imaging&id=`
	prefix := lesionPrefix(a)
	for i, l := range a.Lesions {
		e.next(i, `,"result":[`)
		identifier := prefix + l.ID
		e.raw(query)
		e.raw(EscapeQuery(identifier))
		e.raw(`","display":`)
		e.text(identifier)
		e.raw(`}`)
	}
	e.close(len(a.Lesions))
}

// LesionIdentifier returns the identifier of a lesion among all assessments of
// a study, {case}-{assessment}-{lesion}.
func LesionIdentifier(a events.Assessment, lesion string) string {
	return lesionPrefix(a) + lesion
}

// lesionPrefix returns what the identifiers of all lesions of an assessment begin with.
func lesionPrefix(a events.Assessment) string {
	return strconv.Itoa(int(a.Case.ID)) + "-" + a.ID + "-"
}
