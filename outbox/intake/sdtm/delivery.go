package sdtm

import (
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// arrange returns all visits of a subject, delivered and absent, in their order. It
// sets their names, timepoints, conclusions, sums and changes, and adds the warnings
// about them. Registered is all that is registered of the subject's case.
func (s *subject) arrange(delivered []*visit, registered []events.KnownVisit) []*visit {
	all := slices.Concat(delivered, absentVisits(delivered, registered))
	if reordered, line := order(all); reordered != "" {
		s.warnf(kindOrder, "%s:%d: VISITNUM: the visits of subject %s are ordered by their dates, not by number: %s",
			resultsDomain.file, line, intake.Printable(s.id), reordered)
	}
	s.warnUnnumbered(all)
	for _, v := range delivered {
		v.warnReplaced()
	}
	name(all)
	s.conclude(all)
	measure(all)
	return all
}

// absentVisits returns a visit for each registered assessment that is not that of a
// delivered visit.
func absentVisits(delivered []*visit, registered []events.KnownVisit) []*visit {
	deliveredIDs := map[string]bool{}
	for _, v := range delivered {
		if v.stored != nil {
			deliveredIDs[v.stored.Latest.ID] = true
		}
	}
	var absent []*visit
	for _, k := range registered {
		if !deliveredIDs[k.Latest.ID] {
			absent = append(absent, absentVisit(k))
		}
	}
	return absent
}

// absentVisit returns a registered assessment as a visit without rows.
func absentVisit(k events.KnownVisit) *visit {
	v := &visit{absent: true, stored: &k, assessment: k.Latest, lesions: map[string]*lesion{}}
	if k.Visit != nil {
		key := newVisitKey("", k.Visit)
		v.number, v.date = key.number, key.date
	}
	if d, err := parseDate(k.Latest.Effective); err == nil {
		v.effective, v.dayUnknown = d, d.dayUnknown
	}
	for _, l := range k.Latest.Lesions {
		v.lesions[l.ID] = &lesion{
			category: l.Category, notDone: l.State == stateNotEvaluable, tooSmall: l.State == stateTooSmall, registered: true,
		}
	}
	if m := k.Latest.Measurement; m != nil {
		v.sum, _ = newLength(0, m.Value) // valid when it was registered
	} else {
		for _, l := range v.lesions { // without a registered sum, its targets count as not measured
			l.notDone = true
		}
	}
	return v
}

// warnUnnumbered warns of each absent visit without a VISITNUM, that is, of each
// assessment of the case that was not imported from SDTM.
func (s *subject) warnUnnumbered(all []*visit) {
	for _, v := range all {
		if v.absent && v.number == "" {
			s.warnf(kindEarlier, "assessment %s of case %d, of %s, was not imported from SDTM and counts as a visit of subject %s",
				v.assessment.ID, v.assessment.Case.ID, v.assessment.Effective, intake.Printable(s.id))
		}
	}
}

// warnReplaced warns if the visit replaces a registered one although rows of it seem
// to be missing in this delivery: the registered visit has a lesion that this one
// lacks, or another date.
func (v *visit) warnReplaced() {
	if v.stored == nil || v.refusal != nil || v.sameContent() {
		return
	}
	latest := v.stored.Latest
	var missing []string
	for _, l := range latest.Lesions {
		if v.lesions[l.ID] == nil {
			missing = append(missing, intake.Printable(l.ID))
		}
	}
	if len(missing) > 0 {
		v.warnf(kindReplaced, "%s:%d: TRLNKID: visit %s is registered as assessment %s with lesion %s, which it does not have here, and is replaced",
			resultsDomain.file, v.line, v.name(), latest.ID, strings.Join(missing, ", "))
	}
	if d, err := parseDate(latest.Effective); err == nil && (d.isBefore(v.effective) || v.effective.isBefore(d)) {
		v.warnf(kindReplaced, "%s:%d: TRDTC: visit %s is registered as assessment %s with the date %s and is replaced; if both dates are of the visit, deliver them together",
			resultsDomain.file, v.line, v.name(), latest.ID, latest.Effective)
	}
}

// name sets the timepoints and names of the visits, which are in their order: 0 and
// the name of the baseline, then 1, 2, 3 … An absent visit keeps a timepoint that is
// higher than that, if the registered visits before it are exactly those with a lower
// timepoint. The gap was left by a visit that was refused and may be registered later.
func name(visits []*visit) {
	next := int32(0)
	for i, v := range visits {
		if v.absent && v.followsTheSame(visits[:i], visits[i+1:]) {
			next = max(next, v.stored.Latest.Timepoint)
		}
		v.assessment.Timepoint, v.assessment.Name = next, events.Baseline
		if next > 0 {
			v.assessment.Name = events.FollowUp(int(next))
		}
		next++
	}
}

// followsTheSame reports whether, of the registered visits, exactly those with a lower
// timepoint are before v.
func (v *visit) followsTheSame(before, after []*visit) bool {
	isLower := func(u *visit) bool { return u.stored != nil && u.stored.Latest.Timepoint < v.stored.Latest.Timepoint }
	isNotLower := func(u *visit) bool { return u.stored != nil && !isLower(u) }
	return !slices.ContainsFunc(before, isNotLower) && !slices.ContainsFunc(after, isLower)
}

// reviseCase puts the whole case into its next revision if the delivery changes the
// name, timepoint or changes of an absent visit. Then all visits of the case are
// registered together, so that two reports never have the same timepoint. The case
// cannot be revised while one of its visits is refused; then the new and changed
// visits are refused instead.
func (s *subject) reviseCase(all []*visit, registered []events.KnownVisit) {
	changed := changedVisits(all, registered)
	if len(changed) == 0 {
		return
	}
	if i := slices.IndexFunc(all, func(v *visit) bool { return v.refusal != nil }); i >= 0 {
		refuseNewContent(all, changed[0], all[i])
		return
	}
	first := all[slices.IndexFunc(all, func(v *visit) bool { return !v.absent })]
	number := changed[0].stored.Latest.Case.ID
	revision := int32(0)
	for _, k := range registered {
		revision = max(revision, k.Latest.Case.Revision)
	}
	if revision == math.MaxInt32 {
		for _, v := range all {
			v.refuse(first.line, events.Fieldf("VISITNUM", "case %d has no revision left", number))
		}
		return
	}
	revision++
	for _, v := range all {
		switch {
		case v.withdrawn() || v.assessment.Case.ID != number: // stays as it is registered, or in its own case
			continue
		case v.absent:
			v.registerAgain, v.line = true, first.line
		}
		v.assessment.Case.Revision = revision
	}
	for _, v := range changed {
		why := "becomes " + v.assessment.Name
		if v.assessment.Name == v.stored.Latest.Name {
			why = "has another sum or other changes"
		}
		first.warnf(kindCase, "%s:%d: VISITNUM: the whole case %d is registered again as revision %d, because with this delivery visit %s (assessment %s), which it does not have, %s",
			resultsDomain.file, first.line, number, revision, v.name(), v.assessment.ID, why)
	}
}

// refuseNewContent refuses each new or changed visit of the delivery. Together they
// change the absent visit changed, so the whole case would have to be registered
// again. That is not possible because the visit refused is refused.
func refuseNewContent(all []*visit, changed, refused *visit) {
	for _, v := range all {
		if !v.absent && (v.stored == nil || !reflect.DeepEqual(v.assessment, v.stored.Latest)) {
			v.refuse(v.line, events.Fieldf("VISITNUM", "this delivery changes visit %s, which it does not contain; the case cannot be registered again while visit %s is refused (line %d)",
				changed.name(), refused.name(), refused.refusal.Line))
		}
	}
}

// changedVisits returns the absent visits whose timepoint or measurement changes
// because of the delivery, except withdrawn ones. It resets the assessment of each
// absent visit to what is registered, apart from these changes.
func changedVisits(all []*visit, registered []events.KnownVisit) []*visit {
	if !slices.ContainsFunc(all, func(v *visit) bool { return v.absent }) {
		return nil
	}
	// A difference from what is registered counts only if the registered visits alone,
	// computed by the same rules, do not have it.
	before := map[string]*visit{} // visits of alone, by assessment id
	var alone []*visit            // the registered visits without the delivery
	for _, k := range registered {
		v := absentVisit(k)
		before[k.Latest.ID] = v
		alone = append(alone, v)
	}
	order(alone)
	name(alone)
	measure(alone)
	var changed []*visit
	for _, v := range all {
		if !v.absent || v.refusal != nil {
			continue
		}
		was, is := before[v.stored.Latest.ID].assessment, v.assessment
		v.assessment = v.stored.Latest
		renamed := is.Timepoint != v.assessment.Timepoint && is.Timepoint != was.Timepoint
		compared := !reflect.DeepEqual(is.Measurement, was.Measurement) && !reflect.DeepEqual(is.Measurement, v.assessment.Measurement)
		if renamed {
			v.assessment.Timepoint, v.assessment.Name = is.Timepoint, is.Name
			v.assessment.Conclusion = v.conclusionAt(is.Timepoint)
		}
		if compared {
			v.assessment.Measurement = is.Measurement
		}
		if (renamed || compared) && !v.stored.Withdrawn {
			changed = append(changed, v)
		}
	}
	return changed
}

// conclusionAt returns the conclusion of a registered visit if its timepoint changes.
// It differs only for a visit without a response that becomes the baseline or ceases
// to be it.
func (v *visit) conclusionAt(timepoint int32) string {
	conclusion := v.stored.Latest.Conclusion
	switch {
	case v.number == "": // not from SDTM
	case timepoint > 0 && conclusion == withoutResponse(true):
		return withoutResponse(false)
	case timepoint == 0 && conclusion == withoutResponse(false):
		return withoutResponse(true)
	}
	return conclusion
}

// sameLesions reports whether the visit has the same lesions and the same sum of
// diameters as an assessment.
func (v *visit) sameLesions(a events.Assessment) bool {
	value := func(m *events.Measurement) events.Decimal {
		if m == nil {
			return ""
		}
		return m.Value
	}
	return reflect.DeepEqual(v.assessment.Lesions, a.Lesions) && value(v.assessment.Measurement) == value(a.Measurement)
}
