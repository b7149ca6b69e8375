package intake

import (
	"context"
	"maps"
	"math"
	"reflect"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
)

// perCase is how many assessment ids belong to a case: its number times
// perCase and the numbers up to the next.
const perCase = 100

const offsetHint = "give new cases other numbers with --case-offset"

// casebook gives cases and assessments of one study their numbers, so that
// whatever was imported before keeps its own.
type casebook struct {
	evaluator string
	offset    int
	registry  Registry
	given     map[string]events.KnownVisit   // ids given in this import, in any study
	visits    map[visitKey]events.KnownVisit // of the evaluator
	cases     map[string]int32               // of the evaluator's subjects
	unclaimed map[string]int32               // of subjects in no import
	foreign   map[string]string              // other evaluators by subject
	taken     map[int32]bool                 // case numbers in use
	revisions map[int32]int32                // highest case revision signed
}

// visitKey finds a known visit.
type visitKey struct{ subject, number, date string }

func newCasebook(opts SDTMOptions, reg Registry, given map[string]events.KnownVisit, known []events.KnownVisit) *casebook {
	c := &casebook{
		evaluator: opts.Evaluator, offset: opts.CaseOffset, registry: reg, given: given,
		visits: map[visitKey]events.KnownVisit{}, cases: map[string]int32{}, unclaimed: map[string]int32{},
		foreign: map[string]string{}, taken: map[int32]bool{}, revisions: map[int32]int32{},
	}
	claimed := map[int32]bool{} // by another evaluator
	for _, k := range known {
		c.learn(k, claimed)
	}
	for _, k := range known {
		id := k.Latest.Case.ID
		if k.Visit == nil && !claimed[id] {
			c.unclaimed[k.Latest.Subject] = lower(c.unclaimed[k.Latest.Subject], id)
		}
	}
	return c
}

func (c *casebook) learn(k events.KnownVisit, claimed map[int32]bool) {
	a := k.Latest
	c.taken[a.Case.ID] = true
	if k.Signed {
		c.revisions[a.Case.ID] = max(c.revisions[a.Case.ID], a.Case.Revision)
	}
	switch {
	case k.Visit == nil:
	case k.Visit.Evaluator == c.evaluator:
		c.visits[visitKey{a.Subject, k.Visit.Number, k.Visit.Date}] = k
		c.cases[a.Subject] = lower(c.cases[a.Subject], a.Case.ID)
	default:
		claimed[a.Case.ID] = true
		c.foreign[a.Subject] = k.Visit.Evaluator
	}
}

// lower gives the lower of two case numbers, of which 0 is none.
func lower(a, b int32) int32 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// number gives a subject's visits their ids and revisions. A subject all of
// whose visits are refused keeps its place among the cases nevertheless. Its
// error is no refusal.
func (c *casebook) number(ctx context.Context, visits []*visit) error {
	id, fresh, refusal := c.caseOf(visits[0].assessment.Subject)
	var created []*visit
	for _, v := range visits {
		if known, ok := c.knownVisit(v); ok {
			c.continueFrom(v, known)
		} else if v.fault == nil {
			created = append(created, v)
		}
	}
	if len(created) == 0 {
		return nil
	}
	var free freeIDs
	if refusal == nil {
		var err error
		if free, err = c.freeIDsOf(ctx, id); err != nil {
			return err
		}
		refusal = free.refusal(fresh)
	}
	for _, v := range created {
		if refusal != nil {
			v.refuse(v.line, refusal)
			continue
		}
		c.begin(v, id, &free)
	}
	return nil
}

// begin makes the visit a new assessment of the case.
func (c *casebook) begin(v *visit, id int32, free *freeIDs) {
	var ok bool
	if v.assessment.ID, ok = free.next(); !ok {
		v.refuse(v.line, events.Fieldf("VISITNUM", "case %d has no assessment id left of its %d", id, perCase))
	}
	v.assessment.Case = events.Case{ID: id, Revision: max(1, c.revisions[id])}
	v.assessment.Revision = 1
	c.given[v.assessment.ID] = events.KnownVisit{Latest: events.Assessment{Study: v.assessment.Study}, Visit: v.key(c.evaluator)}
}

// caseOf gives the subject's case: the one it has, or the next that is free.
func (c *casebook) caseOf(subject string) (id int32, fresh bool, refusal *events.Error) {
	if id := c.cases[subject]; id != 0 {
		return id, false, nil
	}
	if id := c.unclaimed[subject]; id != 0 {
		return id, false, nil
	}
	if other, ok := c.foreign[subject]; ok && c.offset == 0 {
		return 0, false, events.Fieldf("USUBJID", "the assessment ids of this subject's case are held by the import of %s; %s", other, offsetHint)
	}
	for n := c.offset + 1; n <= math.MaxInt32; n++ {
		if id := int32(n); !c.taken[id] {
			c.taken[id] = true
			return id, true, nil
		}
	}
	return 0, false, events.Fieldf("USUBJID", "no case number is left above %d", c.offset)
}

// knownVisit finds what an earlier import made of the visit. One that is split
// by date now and was not then, or the other way round, is found by its date.
func (c *casebook) knownVisit(v *visit) (events.KnownVisit, bool) {
	subject := v.assessment.Subject
	if k, ok := c.visits[visitKey{subject, v.number, v.date}]; ok {
		return k, true
	}
	if v.date != "" {
		k, ok := c.visits[visitKey{subject, v.number, ""}]
		return k, ok && k.Latest.Effective == v.effective
	}
	k, ok := c.visits[visitKey{subject, v.number, v.effective}]
	return k, ok
}

// continueFrom gives the visit the id it has, and the revision it has too, or
// the next if it changed since it was signed.
func (c *casebook) continueFrom(v *visit, known events.KnownVisit) {
	a, latest := &v.assessment, known.Latest
	a.ID, a.Case, a.Revision = latest.ID, latest.Case, latest.Revision
	if known.Signed && !reflect.DeepEqual(*a, latest) {
		a.Revision++
		a.Case.Revision = max(a.Case.Revision, c.revisions[a.Case.ID])
	}
}

// freeIDs hands out the assessment ids of a case that nothing holds.
type freeIDs struct {
	ids  []string
	held map[string]events.KnownVisit
}

func (c *casebook) freeIDsOf(ctx context.Context, id int32) (freeIDs, error) {
	var f freeIDs
	for n := range int64(perCase) {
		f.ids = append(f.ids, strconv.FormatInt(int64(id)*perCase+n, 10))
	}
	held, err := c.registry.Holder(ctx, f.ids)
	if err != nil {
		return f, err
	}
	f.held = make(map[string]events.KnownVisit, len(held))
	maps.Copy(f.held, held)
	for _, id := range f.ids {
		if k, ok := c.given[id]; ok {
			f.held[id] = k
		}
	}
	return f, nil
}

// refusal refuses a new case whose ids another import holds.
func (f freeIDs) refusal(fresh bool) *events.Error {
	for _, id := range f.ids {
		if k, held := f.held[id]; held && fresh && k.Visit != nil {
			return events.Fieldf("USUBJID", "assessment id %s is held by the import of %s in study %s; %s", id, k.Visit.Evaluator, k.Latest.Study, offsetHint)
		}
	}
	return nil
}

// next gives the lowest free id and takes it.
func (f *freeIDs) next() (string, bool) {
	for len(f.ids) > 0 {
		id := f.ids[0]
		f.ids = f.ids[1:]
		if _, held := f.held[id]; !held {
			return id, true
		}
	}
	return "", false
}
