// Package changes describes in words what differs between two versions of an assessment.
//
// Values are compared and shown as the texts that were signed: 24.0 and 24.00 differ. The
// texts may have any characters of the assessments; who prints them makes these visible.
package changes

import (
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// none stands for a value that a version does not have.
const none = "none"

// Between returns what differs between two versions of an assessment, one text for the
// subject, the conclusion, each lesion, the sum, its changes and whatever else differs, in
// this order. The versions' numbers are left out. The list is empty if nothing differs.
func Between(before, after events.Assessment) []string {
	var d differences
	d.field("subject", before.Subject, after.Subject)
	d.field("conclusion", before.Conclusion, after.Conclusion)
	d.lesions(before.Lesions, after.Lesions)
	d.measurement(before.Measurement, after.Measurement)
	d.field("visit", before.Name, after.Name)
	d.field("timepoint", number(before.Timepoint), number(after.Timepoint))
	d.field("date", before.Effective, after.Effective)
	d.field("revision date", before.RevisionDate, after.RevisionDate)
	d.field("study", before.Study, after.Study)
	d.field("sponsor’s study", before.SponsorStudy, after.SponsorStudy)
	d.field("trial name", before.TrialName, after.TrialName)
	d.field("case", number(before.Case.ID), number(after.Case.ID))
	d.field("criteria", before.Criteria, after.Criteria)
	return d
}

// differences are texts, each about one difference.
type differences []string

// field adds the difference of a text, if there is one.
func (d *differences) field(name, before, after string) {
	if before != after {
		*d = append(*d, name+" "+arrow(before, after))
	}
}

// arrow returns the texts before and after a change.
func arrow(before, after string) string { return orNone(before) + " → " + orNone(after) }

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

func number(n int32) string { return strconv.FormatInt(int64(n), 10) }

// lengths returns two lengths before and after a change. The unit stands once if both have
// the same.
func lengths(before, after events.Decimal, unitBefore, unitAfter string) string {
	if before != "" && after != "" && unitBefore == unitAfter {
		return withUnit(string(before)+" → "+string(after), unitAfter)
	}
	return arrow(withUnit(string(before), unitBefore), withUnit(string(after), unitAfter))
}

func withUnit(value, unit string) string {
	if value == "" || unit == "" {
		return value
	}
	return value + " " + unit
}

// lesions adds a text for each lesion that differs, in the order of the later version, and
// then for those that it lacks.
func (d *differences) lesions(before, after []events.Lesion) {
	former := make(map[string]events.Lesion, len(before))
	for _, l := range before {
		former[l.ID] = l
	}
	for _, l := range after {
		was, ok := former[l.ID]
		delete(former, l.ID)
		switch {
		case !ok:
			*d = append(*d, l.ID+" added: "+describe(l))
		default:
			d.lesion(was, l)
		}
	}
	for _, l := range before {
		if _, ok := former[l.ID]; ok {
			*d = append(*d, l.ID+" removed: "+describe(l))
		}
	}
}

// describe returns the category, the organ, the diameter and the state of a lesion.
func describe(l events.Lesion) string {
	var parts []string
	for _, part := range []string{l.Category, l.Organ, withUnit(string(l.Value), l.Unit), l.State} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if parts == nil {
		return "nothing recorded"
	}
	return strings.Join(parts, ", ")
}

// lesion adds one text with all that differs of a lesion.
func (d *differences) lesion(before, after events.Lesion) {
	var parts differences
	if before.Value != after.Value || before.Unit != after.Unit {
		parts = append(parts, lengths(before.Value, after.Value, before.Unit, after.Unit))
	}
	if before.State != after.State {
		parts = append(parts, arrow(before.State, after.State))
	}
	parts.field("category", before.Category, after.Category)
	parts.field("organ", before.Organ, after.Organ)
	parts.field("label", before.Label, after.Label)
	parts.field("modality", before.Modality, after.Modality)
	parts.field("series", optional(before.SeriesNumber), optional(after.SeriesNumber))
	parts.field("series description", before.SeriesDescription, after.SeriesDescription)
	parts.field("instance", optional(before.InstanceNumber), optional(after.InstanceNumber))
	parts.field("change from previous", before.ChangeFromPrevious, after.ChangeFromPrevious)
	parts.field("change from baseline", before.ChangeFromBaseline, after.ChangeFromBaseline)
	parts.field("change from nadir", before.ChangeFromNadir, after.ChangeFromNadir)
	if len(parts) > 0 {
		*d = append(*d, after.ID+" "+strings.Join(parts, ", "))
	}
}

func optional(n *int32) string {
	if n == nil {
		return ""
	}
	return number(*n)
}

// measurement adds the difference of the sum, and one text for all its changes.
func (d *differences) measurement(before, after *events.Measurement) {
	var b, a events.Measurement // with empty texts for none
	if before != nil {
		b = *before
	}
	if after != nil {
		a = *after
	}
	if b.Value != a.Value || b.Unit != a.Unit {
		*d = append(*d, "sum "+lengths(b.Value, a.Value, b.Unit, a.Unit))
	}
	if before == nil || after == nil {
		return // what belongs to the sum was not there, or is not
	}
	d.field("measurement", b.Type, a.Type)
	var parts differences
	parts.field("previous", b.ChangeFromPrevious, a.ChangeFromPrevious)
	parts.field("baseline", b.ChangeFromBaseline, a.ChangeFromBaseline)
	parts.field("nadir", b.ChangeFromNadir, a.ChangeFromNadir)
	if len(parts) > 0 {
		*d = append(*d, "change from "+strings.Join(parts, ", from "))
	}
}
