package events

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Assessment is one reader's assessment of a subject's tumours at one visit, as a
// source system sends it. Its JSON form is the input format of the program. ID,
// Case.Revision and Revision identify a version of it.
type Assessment struct {
	ID           string       `json:"id"`                     // FHIR id, unique over all studies
	Study        string       `json:"study"`                  // study id, NFC
	SponsorStudy string       `json:"sponsorStudy"`           // the sponsor's number for it
	TrialName    string       `json:"trialName"`              // study id as entered in the source
	Criteria     string       `json:"criteria"`               // RECIST 1.1
	Case         Case         `json:"case"`                   // the subject's series of assessments
	Revision     int32        `json:"revision"`               // of the assessment within the case revision
	RevisionDate string       `json:"revisionDate,omitempty"` // FHIR dateTime; may be absent
	Name         string       `json:"name"`                   // Baseline or Follow-up 1 … 25
	Timepoint    int32        `json:"timepoint"`              // 0 for Baseline
	Subject      string       `json:"subject"`                // the sponsor's subject id
	Effective    string       `json:"effective"`              // FHIR dateTime, exactly as the source wrote it
	Measurement  *Measurement `json:"measurement,omitempty"`  // absent: not evaluable
	Lesions      []Lesion     `json:"lesions,omitempty"`
	Conclusion   string       `json:"conclusion"`
}

// Case is a subject's series of assessments within a study.
type Case struct {
	ID       int32 `json:"id"`
	Revision int32 `json:"revision"`
}

// Measurement is the sum of diameters and its changes. A change is text as it was
// signed: "-12.0 mm", "+3.5 mm", "0.0 mm" or "--".
type Measurement struct {
	Type               string  `json:"type"`
	Value              Decimal `json:"value"`
	Unit               string  `json:"unit"`
	ChangeFromPrevious string  `json:"changeFromPrevious"`
	ChangeFromBaseline string  `json:"changeFromBaseline"`
	ChangeFromNadir    string  `json:"changeFromNadir"`
}

// Lesion is one assessed tumour. All fields but ID may be absent.
type Lesion struct {
	ID                 string  `json:"id"`
	Category           string  `json:"category,omitempty"`
	Organ              string  `json:"organ,omitempty"`
	State              string  `json:"state,omitempty"`
	Value              Decimal `json:"value,omitempty"`
	Unit               string  `json:"unit,omitempty"`
	Modality           string  `json:"modality,omitempty"`
	Label              string  `json:"label,omitempty"`
	SeriesNumber       *int32  `json:"seriesNumber,omitempty"`
	SeriesDescription  string  `json:"seriesDescription,omitempty"`
	InstanceNumber     *int32  `json:"instanceNumber,omitempty"`
	ChangeFromPrevious string  `json:"changeFromPrevious,omitempty"`
	ChangeFromBaseline string  `json:"changeFromBaseline,omitempty"`
	ChangeFromNadir    string  `json:"changeFromNadir,omitempty"`
}

// Limits of an assessment. They keep the largest report far below the message
// limit of NATS.
const (
	maxText    = 200 // characters of an identifier or a name
	maxLesions = 500
)

var (
	fhirID     = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)
	changeForm = regexp.MustCompile(`^(--|[+-]?[0-9]{1,18}(\.[0-9]{1,18})? mm)$`)
)

// ValidFHIRID reports whether id has the form of a FHIR id.
func ValidFHIRID(id string) bool { return fhirID.MatchString(id) }

// Normalize converts the study id to Unicode normal form C, in which
// study ids are compared.
func (a *Assessment) Normalize() { a.Study = norm.NFC.String(a.Study) }

// Version identifies a version of an assessment and orders it among the others.
type Version struct {
	CaseRevision int32 `json:"caseRevision"`
	Revision     int32 `json:"revision"`
}

// Version returns the version that a is.
func (a Assessment) Version() Version { return Version{a.Case.Revision, a.Revision} }

// Less reports whether v comes before o: by case revision, then by revision.
func (v Version) Less(o Version) bool {
	return v.CaseRevision < o.CaseRevision || v.CaseRevision == o.CaseRevision && v.Revision < o.Revision
}

// Follows reports whether v can be signed after last: it is higher, and its revision is
// not lower.
func (v Version) Follows(last Version) bool { return last.Less(v) && v.Revision >= last.Revision }

// String returns the version in words, for messages.
func (v Version) String() string {
	return fmt.Sprintf("case revision %d, revision %d", v.CaseRevision, v.Revision)
}

// Validate returns an error unless the assessment is valid and its study id is
// normalized; see Normalize. The error is an *Error whose Field is the path of the
// first field that is wrong.
func (a Assessment) Validate() error {
	for _, check := range []func() error{a.validateIdentity, a.validateVisit, a.validateMeasurement, a.validateLesions} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// validateIdentity checks what the assessment is of: ids, study, subject and version.
func (a Assessment) validateIdentity() error {
	if !ValidFHIRID(a.ID) {
		return Fieldf("id", "%q is not a FHIR id: 1 to 64 of A-Z, a-z, 0-9, - and .", clip(a.ID))
	}
	if err := ValidStudy(a.Study); err != nil {
		return err
	}
	for _, t := range []struct{ field, value string }{{"sponsorStudy", a.SponsorStudy}, {"trialName", a.TrialName}} {
		if err := requiredText(t.field, t.value); err != nil {
			return err
		}
	}
	if err := identifier("subject", a.Subject); err != nil {
		return err
	}
	for _, n := range []struct {
		field string
		value int32
	}{{"case.id", a.Case.ID}, {"case.revision", a.Case.Revision}, {"revision", a.Revision}} {
		if n.value < 1 {
			return Fieldf(n.field, "must be an integer from 1 to %d", math.MaxInt32)
		}
	}
	return nil
}

// validateVisit checks criteria, visit, dates and conclusion.
func (a Assessment) validateVisit() error {
	if err := oneOf("criteria", a.Criteria, []string{Criteria}); err != nil {
		return err
	}
	if !ValidName(a.Name) {
		return Fieldf("name", "%q is neither %s nor %s to %s", clip(a.Name), Baseline, FollowUp(1), FollowUp(maxFollowUp))
	}
	if a.Timepoint < 0 {
		return Fieldf("timepoint", "must not be negative")
	}
	if (a.Name == Baseline) != (a.Timepoint == 0) {
		return Fieldf("timepoint", "must be 0 for %s and only for it", Baseline)
	}
	if err := dateTime("effective", a.Effective); err != nil {
		return err
	}
	if a.RevisionDate != "" {
		if err := dateTime("revisionDate", a.RevisionDate); err != nil {
			return err
		}
	}
	return oneOf("conclusion", a.Conclusion, Conclusions)
}

// validateMeasurement checks the measurement, which may be absent.
func (a Assessment) validateMeasurement() error {
	m := a.Measurement
	if m == nil {
		return nil
	}
	if err := oneOf("measurement.type", m.Type, []string{MeasurementType}); err != nil {
		return err
	}
	if m.Value == "" {
		return Fieldf("measurement.value", "is missing; leave out the whole measurement where there is none")
	}
	if err := validateValue("measurement", m.Value, m.Unit); err != nil {
		return err
	}
	for _, c := range []struct{ field, value string }{
		{"measurement.changeFromPrevious", m.ChangeFromPrevious},
		{"measurement.changeFromBaseline", m.ChangeFromBaseline},
		{"measurement.changeFromNadir", m.ChangeFromNadir},
	} {
		if !changeForm.MatchString(c.value) {
			return Fieldf(c.field, "%q is neither -- nor a change such as -12.0 mm", clip(c.value))
		}
	}
	return nil
}

// validateLesions checks each lesion, and that no two have the same id.
func (a Assessment) validateLesions() error {
	if len(a.Lesions) > maxLesions {
		return Fieldf("lesions", "has %d entries; at most %d are allowed", len(a.Lesions), maxLesions)
	}
	seen := make(map[string]bool, len(a.Lesions))
	for i, l := range a.Lesions {
		path := fmt.Sprintf("lesions[%d]", i)
		if err := l.Validate(path); err != nil {
			return err
		}
		if seen[l.ID] {
			return Fieldf(path+".id", "%q is there twice", clip(l.ID))
		}
		seen[l.ID] = true
	}
	return nil
}

// Validate returns an error unless the lesion is valid: an *Error whose Field
// starts with path, such as "lesions[2].state".
func (l Lesion) Validate(path string) error {
	if err := identifier(path+".id", l.ID); err != nil {
		return err
	}
	for _, word := range []struct {
		field, value string
		allowed      []string
	}{
		{".category", l.Category, LesionCategories}, {".state", l.State, LesionStates},
		{".modality", l.Modality, LesionModalities}, {".label", l.Label, LesionLabels},
	} {
		if word.value == "" {
			continue
		}
		if err := oneOf(path+word.field, word.value, word.allowed); err != nil {
			return err
		}
	}
	for _, t := range []struct{ field, value string }{{".organ", l.Organ}, {".seriesDescription", l.SeriesDescription}} {
		if err := validText(path+t.field, t.value); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		field string
		value *int32
	}{{".seriesNumber", l.SeriesNumber}, {".instanceNumber", l.InstanceNumber}} {
		if n.value != nil && *n.value < 0 {
			return Fieldf(path+n.field, "must not be negative")
		}
	}
	for _, c := range []struct{ field, value string }{
		{".changeFromPrevious", l.ChangeFromPrevious}, {".changeFromBaseline", l.ChangeFromBaseline}, {".changeFromNadir", l.ChangeFromNadir},
	} {
		if c.value != "" && !changeForm.MatchString(c.value) {
			return Fieldf(path+c.field, "%q is neither -- nor a change such as -12.0 mm", clip(c.value))
		}
	}
	return validateValue(path, l.Value, l.Unit)
}

// validateValue returns an error unless value and unit are both valid or both
// absent.
func validateValue(path string, value Decimal, unit string) error {
	if value == "" && unit == "" {
		return nil
	}
	if value == "" {
		return Fieldf(path+".value", "is missing beside the unit")
	}
	if _, err := ParseDecimal(string(value)); err != nil {
		return &Error{Code: Invalid, Field: path + ".value", Message: err.Error()}
	}
	return oneOf(path+".unit", unit, []string{Unit})
}

// dateTime returns an error unless text, the value of field, is a FHIR dateTime.
func dateTime(field, text string) error {
	if text == "" {
		return Fieldf(field, "is missing")
	}
	if err := ValidDateTime(text); err != nil {
		return &Error{Code: Invalid, Field: field, Message: err.Error()}
	}
	return nil
}

// requiredText returns an error if text, the value of field, is empty or not valid; see
// validText.
func requiredText(field, text string) error {
	if text == "" {
		return Fieldf(field, "is missing")
	}
	return validText(field, text)
}

// identifier returns an error unless text, the value of field, is valid, not empty, and
// its only white space is U+0020. Two identifiers that differ in the kind of white space
// would look the same.
func identifier(field, text string) error {
	if err := requiredText(field, text); err != nil {
		return err
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && unicode.IsSpace(r) }) {
		return Fieldf(field, "has white space that is no simple space")
	}
	return nil
}

// validText returns an error unless text, the value of field, is printable, has at most
// maxText characters and no white space at its ends. Within it there may be spaces of
// any width, such as the no-break space. An empty text is valid.
func validText(field, text string) error {
	if !utf8.ValidString(text) {
		return Fieldf(field, "is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(text); n > maxText {
		return Fieldf(field, "has %d characters; at most %d are allowed", n, maxText)
	}
	for i, r := range text {
		atEnd := i == 0 || i+utf8.RuneLen(r) == len(text)
		if !unicode.IsGraphic(r) || atEnd && unicode.IsSpace(r) {
			return Fieldf(field, "has a control character, or white space at an end")
		}
	}
	return nil
}
