package sdtm

import (
	"cmp"
	"context"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// idsPerCase is how many assessment ids belong to a case: its number times
// idsPerCase, and the numbers from there up to the next case.
const idsPerCase = 100

const offsetHint = "give new cases other numbers with --case-offset"

// numbering numbers the cases and assessments of one study so that whatever was
// imported before keeps its numbers.
type numbering struct {
	evaluator string
	offset    int
	registry  Registry
	assigned  map[string]events.KnownVisit // by ids that this import assigned, in any study

	visits        map[visitKey]events.KnownVisit // that were imported for the evaluator
	byCase        map[int32][]events.KnownVisit  // of the evaluator or of no import, by case
	cases         map[string]int32               // by subject, of the evaluator's imports
	unimported    map[string]int32               // by subject, where no visit of the case was imported from SDTM
	others        map[string]string              // another evaluator whose import has the subject
	usedCases     map[int32]bool
	caseRevisions map[int32]int32 // highest registered, by case
}

// visitKey finds a visit that was imported before.
type visitKey struct{ subject, number, date string }

func newVisitKey(subject string, v *events.Visit) visitKey {
	number, ok := canonicalNumber(v.Number)
	if !ok {
		number = v.Number
	}
	return visitKey{subject, number, dayOf(v.Date)}
}

func newNumbering(opts Options, reg Registry, assigned map[string]events.KnownVisit, stored []events.KnownVisit) *numbering {
	n := &numbering{
		evaluator: opts.Evaluator, offset: opts.CaseOffset, registry: reg, assigned: assigned,
		visits: map[visitKey]events.KnownVisit{}, byCase: map[int32][]events.KnownVisit{}, cases: map[string]int32{}, unimported: map[string]int32{},
		others: map[string]string{}, usedCases: map[int32]bool{}, caseRevisions: map[int32]int32{},
	}
	othersCases := map[int32]bool{}
	for _, k := range stored {
		n.addStored(k, othersCases)
	}
	for _, k := range stored {
		subject, id := k.Latest.Subject, k.Latest.Case.ID
		if k.Visit == nil && !othersCases[id] {
			n.unimported[subject] = lowerCase(n.unimported[subject], id)
		}
	}
	return n
}

// addStored adds an assessment that is registered. Cases of other evaluators'
// imports are added to othersCases.
func (n *numbering) addStored(k events.KnownVisit, othersCases map[int32]bool) {
	a := k.Latest
	n.usedCases[a.Case.ID] = true
	n.caseRevisions[a.Case.ID] = max(n.caseRevisions[a.Case.ID], a.Case.Revision)
	if k.Visit == nil || k.Visit.Evaluator == n.evaluator {
		n.byCase[a.Case.ID] = append(n.byCase[a.Case.ID], k)
	}
	switch {
	case k.Visit == nil:
	case k.Visit.Evaluator == n.evaluator:
		n.visits[newVisitKey(a.Subject, k.Visit)] = k
		n.cases[a.Subject] = lowerCase(n.cases[a.Subject], a.Case.ID)
	default:
		othersCases[a.Case.ID] = true
		n.others[a.Subject] = k.Visit.Evaluator
	}
}

// lowerCase returns the lower of two case numbers, of which 0 is none.
func lowerCase(a, b int32) int32 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// match finds what is registered of the visits, and returns what is registered
// of the subject's case beside them.
func (n *numbering) match(subject string, visits []*visit) (registered []events.KnownVisit) {
	for _, v := range visits {
		if stored, ok := n.findStored(v); ok {
			v.stored = &stored
			if stored.Visit.Date != "" {
				v.date = dayOf(stored.Visit.Date)
			}
		}
	}
	for _, k := range n.byCase[n.storedCase(subject)] {
		if k.Latest.Subject == subject {
			registered = append(registered, k)
		}
	}
	for _, v := range visits {
		if v.stored == nil && v.date == "" && slices.ContainsFunc(registered, v.isSplitIn) {
			v.date = v.effective.day()
		}
	}
	return registered
}

// isSplitIn reports whether a registered assessment is of a date of the visit.
func (v *visit) isSplitIn(k events.KnownVisit) bool {
	return k.Visit != nil && k.Visit.Date != "" && newVisitKey("", k.Visit).number == v.number
}

// storedCase returns the case that the subject has, 0 for none.
func (n *numbering) storedCase(subject string) int32 {
	return cmp.Or(n.cases[subject], n.unimported[subject])
}

// assign sets the ids, cases and revisions of a subject's visits. A new subject
// uses up a case number even if all its visits are refused, so that the others
// have the same numbers when it is corrected. The error is no refusal.
func (n *numbering) assign(ctx context.Context, visits []*visit) error {
	id, isNew, refusal := n.caseOf(visits[0].assessment.Subject)
	var created []*visit
	for _, v := range visits {
		if v.stored != nil {
			n.assignStored(v, *v.stored)
		} else if v.refusal == nil {
			created = append(created, v)
		}
	}
	if len(created) == 0 {
		return nil
	}
	var free freeIDs
	if refusal == nil {
		var err error
		if free, err = n.freeIDsOf(ctx, id); err != nil {
			return err
		}
		refusal = free.refusal(isNew)
	}
	for _, v := range created {
		if refusal != nil {
			v.refuse(v.line, refusal)
			continue
		}
		n.assignNew(v, id, &free)
	}
	return nil
}

// assignNew makes the visit a new assessment of the case.
func (n *numbering) assignNew(v *visit, id int32, free *freeIDs) {
	var ok bool
	if v.assessment.ID, ok = free.next(); !ok {
		v.refuse(v.line, events.Fieldf("VISITNUM", "case %d has no assessment id left of its %d", id, idsPerCase))
	}
	v.assessment.Case = events.Case{ID: id, Revision: max(1, n.caseRevisions[id])}
	v.assessment.Revision = 1
	n.assigned[v.assessment.ID] = events.KnownVisit{Latest: events.Assessment{Study: v.assessment.Study}, Visit: v.key(n.evaluator)}
}

// caseOf returns the subject's case: the one it has, or the next free number.
func (n *numbering) caseOf(subject string) (id int32, isNew bool, refusal *events.Error) {
	if id := n.storedCase(subject); id != 0 {
		return id, false, nil
	}
	if other, ok := n.others[subject]; ok && n.offset == 0 {
		return 0, false, events.Fieldf("USUBJID", "the assessment ids of this subject's case are used by the import of %s; %s", intake.Printable(other), offsetHint)
	}
	for next := n.offset + 1; next <= math.MaxInt32; next++ {
		if id := int32(next); !n.usedCases[id] {
			n.usedCases[id] = true
			return id, true, nil
		}
	}
	return 0, false, events.Fieldf("USUBJID", "no case number is left above %d", n.offset)
}

// findStored finds the assessment that an earlier import made of the visit. A
// visit that is split by date now and was not then, or the other way round, is
// found by its date.
func (n *numbering) findStored(v *visit) (events.KnownVisit, bool) {
	subject := v.assessment.Subject
	if k, ok := n.visits[visitKey{subject, v.number, v.date}]; ok {
		return k, true
	}
	if v.date != "" {
		k, ok := n.visits[visitKey{subject, v.number, ""}]
		return k, ok && dayOf(k.Latest.Effective) == v.date
	}
	if !v.effective.isSet() {
		return events.KnownVisit{}, false
	}
	k, ok := n.visits[visitKey{subject, v.number, v.effective.day()}]
	return k, ok
}

// assignStored sets the id and revision that the visit has already, or the next
// revision if the visit has changed since it was signed.
func (n *numbering) assignStored(v *visit, stored events.KnownVisit) {
	a, latest := &v.assessment, stored.Latest
	a.ID, a.Case, a.Revision = latest.ID, latest.Case, latest.Revision
	if v.withdrawn() {
		*a = latest // it stays withdrawn
		return
	}
	if stored.Signed && !reflect.DeepEqual(*a, latest) {
		a.Revision++
		a.Case.Revision = max(a.Case.Revision, n.caseRevisions[a.Case.ID])
	}
}

// freeIDs is the assessment ids of a case that are not in use.
type freeIDs struct {
	ids  []string
	used map[string]events.KnownVisit
}

func (n *numbering) freeIDsOf(ctx context.Context, caseID int32) (freeIDs, error) {
	var f freeIDs
	for i := range int64(idsPerCase) {
		f.ids = append(f.ids, strconv.FormatInt(int64(caseID)*idsPerCase+i, 10))
	}
	used, err := n.registry.VisitsByID(ctx, f.ids)
	if err != nil {
		return f, err
	}
	f.used = make(map[string]events.KnownVisit, len(used))
	maps.Copy(f.used, used)
	for _, id := range f.ids {
		if k, ok := n.assigned[id]; ok {
			f.used[id] = k
		}
	}
	return f, nil
}

// refusal refuses a new case of whose ids another import uses some.
func (f freeIDs) refusal(isNew bool) *events.Error {
	for _, id := range f.ids {
		if k, used := f.used[id]; used && isNew && k.Visit != nil {
			return events.Fieldf("USUBJID", "assessment id %s is used by the import of %s in study %s; %s", id, intake.Printable(k.Visit.Evaluator), intake.Printable(k.Latest.Study), offsetHint)
		}
	}
	return nil
}

// next returns the lowest free id and uses it up.
func (f *freeIDs) next() (string, bool) {
	for len(f.ids) > 0 {
		id := f.ids[0]
		f.ids = f.ids[1:]
		if _, used := f.used[id]; !used {
			return id, true
		}
	}
	return "", false
}
