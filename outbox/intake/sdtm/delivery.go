package sdtm

import (
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// arrange orders a subject's visits, those that are registered and that the
// delivery lacks included, names them, and computes their sums and changes.
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

// absentVisits makes visits of what is registered and that the delivery lacks.
func absentVisits(delivered []*visit, registered []events.KnownVisit) []*visit {
	there := map[string]bool{}
	for _, v := range delivered {
		if v.stored != nil {
			there[v.stored.Latest.ID] = true
		}
	}
	var absent []*visit
	for _, k := range registered {
		if !there[k.Latest.ID] {
			absent = append(absent, absentVisit(k))
		}
	}
	return absent
}

func absentVisit(k events.KnownVisit) *visit {
	v := &visit{absent: true, stored: &k, assessment: k.Latest, lesions: map[string]*lesion{}}
	if k.Visit != nil {
		key := newVisitKey("", k.Visit)
		v.number, v.date = key.number, key.date
	}
	if d, err := parseDate(k.Latest.Effective); err == nil {
		v.effective, v.coarse = d, d.coarse
	}
	for _, l := range k.Latest.Lesions {
		v.lesions[l.ID] = &lesion{
			category: l.Category, notDone: l.State == stateNotEvaluable, tooSmall: l.State == stateTooSmall, registered: true,
		}
	}
	if m := k.Latest.Measurement; m != nil {
		v.sum, _ = newLength(0, m.Value) // valid when it was registered
	} else {
		for _, l := range v.lesions {
			l.notDone = true
		}
	}
	return v
}

// warnUnnumbered warns of assessments of the case that did not come from SDTM.
func (s *subject) warnUnnumbered(all []*visit) {
	for _, v := range all {
		if v.absent && v.number == "" {
			s.warnf(kindEarlier, "assessment %s of case %d, of %s, was not imported from SDTM and counts as a visit of subject %s",
				v.assessment.ID, v.assessment.Case.ID, v.assessment.Effective, intake.Printable(s.id))
		}
	}
}

// warnReplaced warns where the visit replaces a registered one that it may not be:
// rows of a visit, or one of its dates, may be missing in this delivery.
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

// name sets the timepoints and names of the visits. A visit that is absent keeps
// its timepoint where a visit before it was refused and is registered later.
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

// followsTheSame reports whether the registered visits before v are those whose
// timepoint is lower.
func (v *visit) followsTheSame(before, after []*visit) bool {
	isLower := func(u *visit) bool { return u.stored != nil && u.stored.Latest.Timepoint < v.stored.Latest.Timepoint }
	isNotLower := func(u *visit) bool { return u.stored != nil && !isLower(u) }
	return !slices.ContainsFunc(before, isNotLower) && !slices.ContainsFunc(after, isLower)
}

// reviseCase registers the whole case in its next revision where what is new
// changes the name, timepoint or changes of a visit that the delivery lacks, so
// that two reports never have one timepoint.
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
		case v.withdrawn() || v.assessment.Case.ID != number:
			continue
		case v.absent:
			v.again, v.line = true, first.line
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

// refuseNewContent refuses each new or changed visit of the delivery. They would
// change the name, timepoint or values of the registered visit changed, which the
// delivery lacks; then the whole case has to be registered again, and it cannot be
// while the visit refused is.
func refuseNewContent(all []*visit, changed, refused *visit) {
	for _, v := range all {
		if !v.absent && (v.stored == nil || !reflect.DeepEqual(v.assessment, v.stored.Latest)) {
			v.refuse(v.line, events.Fieldf("VISITNUM", "this delivery changes visit %s, which it does not contain; the case cannot be registered again while visit %s is refused (line %d)",
				changed.name(), refused.name(), refused.refusal.Line))
		}
	}
}

// changedVisits returns the visits that the delivery lacks and that it changes.
// Of the others it sets the assessment to what is registered.
func changedVisits(all []*visit, registered []events.KnownVisit) []*visit {
	if !slices.ContainsFunc(all, func(v *visit) bool { return v.absent }) {
		return nil
	}
	before := map[string]*visit{}
	var alone []*visit
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

// conclusionAt returns the conclusion of a registered visit at another timepoint:
// without a response it is another one at the baseline.
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

// sameLesions reports whether the visit has the lesions and the sum of an
// assessment.
func (v *visit) sameLesions(a events.Assessment) bool {
	value := func(m *events.Measurement) events.Decimal {
		if m == nil {
			return ""
		}
		return m.Value
	}
	return reflect.DeepEqual(v.assessment.Lesions, a.Lesions) && value(v.assessment.Measurement) == value(a.Measurement)
}
