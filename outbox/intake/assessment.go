package intake

import (
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

type (
	assessment  = events.Assessment
	measurement = events.Measurement
	lesion      = events.Lesion
)

var assessmentMembers = []member[assessment]{
	{"id", true, textOf(func(a *assessment) *string { return &a.ID })},
	{"study", true, textOf(func(a *assessment) *string { return &a.Study })},
	{"sponsorStudy", true, textOf(func(a *assessment) *string { return &a.SponsorStudy })},
	{"trialName", true, textOf(func(a *assessment) *string { return &a.TrialName })},
	{"criteria", true, textOf(func(a *assessment) *string { return &a.Criteria })},
	{"case", true, objectOf(caseMembers, func(a *assessment) *events.Case { return &a.Case })},
	{"revision", true, integerOf(func(a *assessment) *int32 { return &a.Revision })},
	{"revisionDate", false, textOf(func(a *assessment) *string { return &a.RevisionDate })},
	{"name", true, textOf(func(a *assessment) *string { return &a.Name })},
	{"timepoint", true, integerOf(func(a *assessment) *int32 { return &a.Timepoint })},
	{"subject", true, textOf(func(a *assessment) *string { return &a.Subject })},
	{"effective", true, textOf(func(a *assessment) *string { return &a.Effective })},
	{"measurement", false, objectOf(measurementMembers, func(a *assessment) *measurement {
		a.Measurement = new(measurement)
		return a.Measurement
	})},
	{"lesions", false, readLesions},
	{"conclusion", true, textOf(func(a *assessment) *string { return &a.Conclusion })},
}

var caseMembers = []member[events.Case]{
	{"id", true, integerOf(func(c *events.Case) *int32 { return &c.ID })},
	{"revision", true, integerOf(func(c *events.Case) *int32 { return &c.Revision })},
}

var measurementMembers = []member[measurement]{
	{"type", true, textOf(func(m *measurement) *string { return &m.Type })},
	{"value", true, decimalOf(func(m *measurement) *events.Decimal { return &m.Value })},
	{"unit", true, textOf(func(m *measurement) *string { return &m.Unit })},
	{"changeFromPrevious", true, textOf(func(m *measurement) *string { return &m.ChangeFromPrevious })},
	{"changeFromBaseline", true, textOf(func(m *measurement) *string { return &m.ChangeFromBaseline })},
	{"changeFromNadir", true, textOf(func(m *measurement) *string { return &m.ChangeFromNadir })},
}

var lesionMembers = []member[lesion]{
	{"id", true, textOf(func(l *lesion) *string { return &l.ID })},
	{"category", false, textOf(func(l *lesion) *string { return &l.Category })},
	{"organ", false, textOf(func(l *lesion) *string { return &l.Organ })},
	{"state", false, textOf(func(l *lesion) *string { return &l.State })},
	{"value", false, decimalOf(func(l *lesion) *events.Decimal { return &l.Value })},
	{"unit", false, textOf(func(l *lesion) *string { return &l.Unit })},
	{"modality", false, textOf(func(l *lesion) *string { return &l.Modality })},
	{"label", false, textOf(func(l *lesion) *string { return &l.Label })},
	{"seriesNumber", false, integerOf(func(l *lesion) *int32 { l.SeriesNumber = new(int32); return l.SeriesNumber })},
	{"seriesDescription", false, textOf(func(l *lesion) *string { return &l.SeriesDescription })},
	{"instanceNumber", false, integerOf(func(l *lesion) *int32 { l.InstanceNumber = new(int32); return l.InstanceNumber })},
	{"changeFromPrevious", false, textOf(func(l *lesion) *string { return &l.ChangeFromPrevious })},
	{"changeFromBaseline", false, textOf(func(l *lesion) *string { return &l.ChangeFromBaseline })},
	{"changeFromNadir", false, textOf(func(l *lesion) *string { return &l.ChangeFromNadir })},
}

func readLesions(a *assessment, n node) *fault {
	if f := n.must(array); f != nil {
		return f
	}
	for i, item := range n.items {
		var l lesion
		if f := decode(item, &l, lesionMembers); f != nil {
			return f.within(fmt.Sprintf("[%d]", i))
		}
		a.Lesions = append(a.Lesions, l)
	}
	return nil
}

// readAssessment reads the JSON form of an assessment.
func readAssessment(n node) (assessment, error) {
	var a assessment
	if f := decode(n, &a, assessmentMembers); f != nil {
		return assessment{}, f
	}
	return checked(a, n)
}

// checked normalizes and validates an assessment that was read from n.
func checked(a assessment, n node) (assessment, error) {
	a.Normalize()
	if err := a.Validate(); err != nil {
		return assessment{}, located(err, n)
	}
	return a, nil
}

// located finds the line of the field that an error is about.
func located(err error, n node) *fault {
	e := asError(err, "")
	return &fault{line: n.lineOf(e.Field), err: e}
}

// asError gives the events.Error in err, about field if it names none.
func asError(err error, field string) *events.Error {
	e := &events.Error{Code: events.Invalid, Message: err.Error()}
	errors.As(err, &e)
	if e.Field == "" {
		e.Field = field
	}
	return e
}
