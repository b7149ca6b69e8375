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

// idsPerCase is how many assessment ids a case has. The first is the case number
// times idsPerCase.
const idsPerCase = 100

const offsetHint = "give new cases other numbers with --case-offset"

// numbering assigns case numbers and assessment ids in one study. What was imported
// before keeps them. Registered assessments are one of three: imported by this
// evaluator, imported by another evaluator, or not imported from SDTM at all.
type numbering struct {
	evaluator string
	offset    int
	registry  Registry
	assigned  map[string]events.KnownVisit // by id; the ids that this import has assigned, in any study

	visits         map[visitKey]events.KnownVisit // imported by this evaluator
	byCase         map[int32][]events.KnownVisit  // by case; imported by this evaluator or not from SDTM
	cases          map[string]int32               // by subject; the lowest case imported by this evaluator
	unimported     map[string]int32               // by subject; the lowest case of assessments not from SDTM
	otherEvaluator map[string]string              // by subject; another evaluator who imported it
	usedCases      map[int32]bool
	caseRevisions  map[int32]int32 // by case; the highest that is registered
}

// visitKey identifies a visit of the evaluator in a study. Number is canonical; date
// is empty unless the visit is split by date.
type visitKey struct{ subject, number, date string }

// newVisitKey returns the key of a registered visit.
func newVisitKey(subject string, v *events.Visit) visitKey {
	number, ok := canonicalNumber(v.Number)
	if !ok {
		number = v.Number
	}
	return visitKey{subject, number, dayOf(v.Date)}
}

// newNumbering returns the numbering of a study. Stored has all its registered
// assessments.
func newNumbering(opts Options, reg Registry, assigned map[string]events.KnownVisit, stored []events.KnownVisit) *numbering {
	n := &numbering{
		evaluator: opts.Evaluator, offset: opts.CaseOffset, registry: reg, assigned: assigned,
		visits: map[visitKey]events.KnownVisit{}, byCase: map[int32][]events.KnownVisit{}, cases: map[string]int32{}, unimported: map[string]int32{},
		otherEvaluator: map[string]string{}, usedCases: map[int32]bool{}, caseRevisions: map[int32]int32{},
	}
	casesOfOthers := map[int32]bool{}
	for _, k := range stored {
		n.addStored(k, casesOfOthers)
	}
	for _, k := range stored {
		subject, id := k.Latest.Subject, k.Latest.Case.ID
		if k.Visit == nil && !casesOfOthers[id] { // a case of another evaluator's import is not the subject's here
			n.unimported[subject] = lowerCase(n.unimported[subject], id)
		}
	}
	return n
}

// addStored adds a registered assessment. If another evaluator imported it, its case
// is added to casesOfOthers.
func (n *numbering) addStored(k events.KnownVisit, casesOfOthers map[int32]bool) {
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
		casesOfOthers[a.Case.ID] = true
		n.otherEvaluator[a.Subject] = k.Visit.Evaluator
	}
}

// lowerCase returns the lower of two case numbers. A may be 0 for none.
func lowerCase(a, b int32) int32 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// match sets stored of each visit that is registered, and its date if it is
// registered with one. It returns all registered assessments of the subject's case,
// with and without a visit here.
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
		// A new date of a visit that is registered by date is registered by date too.
		if v.stored == nil && v.date == "" && slices.ContainsFunc(registered, v.isSplitIn) {
			v.date = v.effective.day()
		}
	}
	return registered
}

// isSplitIn reports whether k is registered as one date of the visit's VISITNUM.
func (v *visit) isSplitIn(k events.KnownVisit) bool {
	return k.Visit != nil && k.Visit.Date != "" && newVisitKey("", k.Visit).number == v.number
}

// storedCase returns the case that the subject has, 0 for none.
func (n *numbering) storedCase(subject string) int32 {
	return cmp.Or(n.cases[subject], n.unimported[subject])
}

// assign sets the ids, cases and revisions of a subject's delivered visits. A new
// subject uses up a case number even if all its visits are refused, so that the
// numbers of later subjects remain the same when it is corrected. New visits are
// refused if the subject cannot have a case. The error is the registry's.
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

// assignNew makes the visit a new assessment of the case, or refuses it if the case
// has no free id.
func (n *numbering) assignNew(v *visit, id int32, free *freeIDs) {
	var ok bool
	if v.assessment.ID, ok = free.next(); !ok {
		v.refuse(v.line, events.Fieldf("VISITNUM", "case %d has no assessment id left of its %d", id, idsPerCase))
	}
	v.assessment.Case = events.Case{ID: id, Revision: max(1, n.caseRevisions[id])}
	v.assessment.Revision = 1
	n.assigned[v.assessment.ID] = events.KnownVisit{Latest: events.Assessment{Study: v.assessment.Study}, Visit: v.key(n.evaluator)}
}

// caseOf returns the subject's case: the one that it has, or the next free number,
// which it marks as used. With an offset, a subject may have a second case beside
// that of another evaluator; without one it is refused.
func (n *numbering) caseOf(subject string) (id int32, isNew bool, refusal *events.Error) {
	if id := n.storedCase(subject); id != 0 {
		return id, false, nil
	}
	if other, ok := n.otherEvaluator[subject]; ok && n.offset == 0 {
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

// findStored returns the assessment that an earlier import made of the visit. If the
// visit is split by date now and was not then, or was split then and is not now, the
// date decides.
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

// assignStored sets the id, case and revision that the visit has already. A visit
// that has changed since it was signed gets the next revision, in the latest
// revision of its case.
func (n *numbering) assignStored(v *visit, stored events.KnownVisit) {
	a, latest := &v.assessment, stored.Latest
	a.ID, a.Case, a.Revision = latest.ID, latest.Case, latest.Revision
	if v.withdrawn() {
		*a = latest // it stays withdrawn, with the name and changes that it had
		return
	}
	if stored.Signed && !reflect.DeepEqual(*a, latest) {
		a.Revision++
		a.Case.Revision = max(a.Case.Revision, n.caseRevisions[a.Case.ID])
	}
}

// freeIDs holds the assessment ids of a case that next has not passed yet, and which
// of the case's ids are in use.
type freeIDs struct {
	ids  []string
	used map[string]events.KnownVisit
}

// freeIDsOf returns the ids of a case. In use are the registered ones, in any study,
// and those that this import has assigned.
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

// refusal returns a refusal if the case is new and an import from SDTM uses one of
// its ids, such as an import of another study.
func (f freeIDs) refusal(isNew bool) *events.Error {
	for _, id := range f.ids {
		if k, used := f.used[id]; used && isNew && k.Visit != nil {
			return events.Fieldf("USUBJID", "assessment id %s is used by the import of %s in study %s; %s", id, intake.Printable(k.Visit.Evaluator), intake.Printable(k.Latest.Study), offsetHint)
		}
	}
	return nil
}

// next returns the lowest free id and uses it up. It reports false if none is left.
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
