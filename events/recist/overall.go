package recist

import (
	"cmp"
	"fmt"
	"slices"
)

// Overall returns the response of a visit by tables 1 and 2 of RECIST 1.1, from those of
// its target and non-target lesions and whether there is an unequivocal new lesion.
func Overall(target, nonTarget Response, added bool) Response {
	switch {
	case added, target == PD, nonTarget == PD:
		return PD
	case target == None && nonTarget == None:
		return Unknown
	case target == None:
		return nonTarget
	case target == CR && (nonTarget == None || nonTarget == CR || nonTarget == Unknown):
		return cmp.Or(nonTarget, CR)
	case target == CR:
		return PR
	default: // NE, PR, SD and Unknown, whatever the non-target lesions are
		return target
	}
}

// overall returns the response of a visit as Overall does, with the reason. Added has the
// ids of its unequivocal new lesions.
func overall(target, nonTarget verdict, added []string) verdict {
	r := Overall(target.response, nonTarget.response, len(added) > 0)
	switch t, n := target.response, nonTarget.response; {
	case len(added) > 0:
		return verdict{r, newText(added), added, sourceNew}
	case t == PD:
		return target
	case n == PD:
		return nonTarget
	case t == None && n == None:
		return verdict{response: r, why: "the first visit has no target and no non-target", source: sourceTable1}
	case t == None, t == CR && n == Unknown:
		return nonTarget
	case t == CR && n != None:
		return verdict{r, target.why + ", and " + nonTarget.why, slices.Concat(target.lesions, nonTarget.lesions), sourceTable1}
	default:
		return target
	}
}

// newText returns what is said of unequivocal new lesions.
func newText(ids []string) string {
	if len(ids) == 1 {
		return names(ids) + " is a new lesion"
	}
	return names(ids) + " are new lesions"
}

// judge sets the response of the i-th visit, and adds the findings about it.
func (c *series) judge(i int) {
	v := c.visits[i]
	if v.isBaseline {
		return
	}
	literal := overall(v.target, v.nonTarget, newLesions(v.assessment, unequivocal))
	v.result.Derived = literal.response
	primary := literal
	if cr := c.lastEvaluable(i); cr != nil && cr.effective() == CR && v.diseaseIsSeen(literal.response) {
		if cr.result.Derived == CR {
			primary = verdict{PD, fmt.Sprintf("the response was complete at %s and disease is seen again", cr.assessment.Name), literal.lesions, sourceTable3}
			v.result.Derived = PD
			v.admitf(literal.response, diseaseAfterCR, literal.lesions,
				"disease is seen again after Complete Response at %s, which makes it Progressive Disease; %s is right if that response was not complete",
				cr.assessment.Name, literal.response)
		} else {
			v.addf(crNotMet, nil, "Complete Response is recorded at %s, where RECIST 1.1 does not give it (%s), so disease that is seen now is not called Progressive Disease for that",
				cr.assessment.Name, cr.result.Derived)
		}
	}
	if best := c.responseBefore(i); best != nil && v.result.Derived == SD {
		v.admitf(PR, continuedPR, nil, "the response was %s at %s; it may be read as continuing until progression", best.effective(), best.assessment.Name)
	}
	if pd := c.progressionBefore(i); pd != nil && v.mayBePD() {
		v.admitf(PD, pdEarlier, nil, "the response was Progressive Disease at %s already", pd.assessment.Name)
	}
	if v.result.Derived == NE {
		c.admitArgued(i)
	}
	if v.target.response == None && v.result.Derived == NonCRNonPD {
		v.result.Admissible = append(v.result.Admissible, SD)
		if v.result.Recorded == SD {
			v.addf(nonTargetSD, nil, "Stable Disease is recorded; with non-target disease only, RECIST 1.1 prefers Non-CR/Non-PD")
		}
	}
	c.admitLaterNew(i)
	v.noteResponse(primary)
}

// mayBePD reports whether there is a derived response beside which progression may be
// admissible.
func (v *visit) mayBePD() bool { return v.result.Derived != PD && v.result.Derived != Unknown }

// admitf adds a response that may be recorded in place of the derived one, with the
// judgement that explains it.
func (v *visit) admitf(r Response, rule kind, lesions []string, format string, args ...any) {
	if !slices.Contains(v.result.Admissible, r) {
		v.result.Admissible = append(v.result.Admissible, r)
	}
	if v.result.Recorded.comparable() {
		v.addf(rule, lesions, format, args...)
	}
}

// noteResponse adds the finding that the recorded response differs from the derived one,
// or that one of them is none.
func (v *visit) noteResponse(primary verdict) {
	r := v.result
	switch {
	case !r.Recorded.comparable():
		v.addf(responseUndefined, nil, "%s is recorded as the response, which RECIST 1.1 does not have", quote(string(r.Recorded)))
	case r.Derived == Unknown, r.Recorded == r.Derived, slices.Contains(r.Admissible, r.Recorded):
	default:
		f := newFinding(overallDiffers, primary.lesions, "%s is recorded, RECIST 1.1 gives %s: %s", r.Recorded, r.Derived, primary.why)
		f.Source = primary.source
		v.result.Findings = append(v.result.Findings, f)
	}
	if r.Derived == Unknown {
		f := newFinding(notEnough, nil, "not enough in the record to check: %s", primary.why)
		f.Source = primary.source
		v.result.Findings = append(v.result.Findings, f)
	}
}

// admitArgued makes the response admissible that comes out with every missing target within
// the bounds of argued.
func (c *series) admitArgued(i int) {
	v := c.visits[i]
	r, missing, wasGone := c.argued(i)
	if r == Unknown {
		return
	}
	bounds := "at half and at twice the diameter that was measured last"
	if wasGone {
		bounds += ", or at 0 and 10 mm where that was 0"
	}
	r = Overall(r, v.nonTarget.response, false)
	v.admitf(r, missingTargetArgued, missing, "%s may be argued: it comes out with %s %s (bounds of this program, not of RECIST 1.1)", r, names(missing), bounds)
}

// effective returns the response that counts for later visits: the recorded one, or else
// the derived one if none by RECIST 1.1 is recorded.
func (v *visit) effective() Response {
	if v.result.Recorded.comparable() {
		return v.result.Recorded
	}
	return v.result.Derived
}

// lastEvaluable returns the last visit before the i-th that is evaluable; nil for none.
func (c *series) lastEvaluable(i int) *visit {
	for j := i - 1; j >= 0; j-- {
		if v := c.visits[j]; !v.isBaseline && v.effective().evaluable() {
			return v
		}
	}
	return nil
}

// responseBefore returns the last visit before the i-th with a partial or complete
// response, unless progression was in between.
func (c *series) responseBefore(i int) *visit {
	for j := i - 1; j >= 0; j-- {
		v := c.visits[j]
		if v.isBaseline {
			continue
		}
		switch v.effective() {
		case PR, CR:
			return v
		case PD:
			return nil
		default:
		}
	}
	return nil
}

// progressionBefore returns the first visit before the i-th with progression; nil for none.
func (c *series) progressionBefore(i int) *visit {
	for _, v := range c.visits[:i] {
		if !v.isBaseline && v.effective() == PD {
			return v
		}
	}
	return nil
}

// diseaseIsSeen reports whether the response r of the visit means that disease is there.
// It does not where the response is no more than partial only because a non-target lesion
// was not evaluated.
func (v *visit) diseaseIsSeen(r Response) bool {
	switch r {
	case PR, SD, NonCRNonPD:
		return v.target.response != CR || v.nonTarget.response != NE
	default:
		return false
	}
}

// admitLaterNew makes progression admissible at the i-th visit if one of its equivocal new
// lesions is unequivocal at a later one.
func (c *series) admitLaterNew(i int) {
	v := c.visits[i]
	if !v.mayBePD() {
		return
	}
	doubtful := newLesions(v.assessment, equivocal)
	if len(doubtful) == 0 {
		return
	}
	for _, later := range c.visits[i+1:] {
		certain := slices.DeleteFunc(newLesions(later.assessment, unequivocal), func(id string) bool { return !slices.Contains(doubtful, id) })
		if len(certain) > 0 {
			v.admitf(PD, newConfirmed, certain, "%s was equivocal here and is a new lesion at %s, so that progression may be dated here", names(certain), later.assessment.Name)
			return
		}
	}
}
