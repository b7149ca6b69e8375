package review

import (
	"context"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

// Check returns what RECIST 1.1 gives for each visit of the case, by assessment id. It
// compares the versions in force, and leaves out visits that have none.
func (c Case) Check() map[string]recist.Visit {
	var visits []events.Assessment
	for _, v := range c.Visits {
		if version := c.InForce(v); version != nil {
			visits = append(visits, version.Assessment)
		}
	}
	checked := make(map[string]recist.Visit, len(visits))
	for _, v := range recist.Check(visits) {
		checked[v.Assessment] = v
	}
	return checked
}

// CheckedVersion is a version in force and what RECIST 1.1 gives for it.
type CheckedVersion struct {
	Version
	Result recist.Visit
}

// Contradictions returns the contradictions of the version as text, each with its code.
func (v CheckedVersion) Contradictions() []string { return Contradictions(v.Result) }

// Result is what RECIST 1.1 gives for a visit, as it is written in JSON.
type Result struct {
	Recorded   recist.Response   `json:"recorded"`
	Derived    recist.Response   `json:"derived"` // empty for a baseline
	Admissible []recist.Response `json:"admissible"`
	Findings   []recist.Finding  `json:"findings"`
}

// ResultOf returns the visit as it is written in JSON, with empty lists instead of nil.
func ResultOf(v recist.Visit) Result {
	return Result{v.Recorded, v.Derived, append([]recist.Response{}, v.Admissible...), append([]recist.Finding{}, v.Findings...)}
}

// Contradictions returns the contradictions of a visit as text, each with its code.
func Contradictions(v recist.Visit) []string {
	var texts []string
	for _, f := range v.Findings {
		if f.Level == recist.Contradiction {
			texts = append(texts, f.Code+": "+f.Text)
		}
	}
	return texts
}

// Check returns what RECIST 1.1 gives for the versions in force that the filter selects, by
// study, case and timepoint. It reads whole cases, because the response at a visit depends
// on the others.
func (r *Reviews) Check(ctx context.Context, filter WaitingFilter) ([]CheckedVersion, error) {
	versions, err := r.InForce(ctx, filter)
	if err != nil {
		return nil, err
	}
	checked := make([]CheckedVersion, 0, len(versions))
	for len(versions) > 0 {
		first := versions[0].Assessment
		n := slices.IndexFunc(versions, func(v Version) bool {
			return v.Assessment.Study != first.Study || v.Assessment.Case.ID != first.Case.ID
		})
		if n < 0 {
			n = len(versions)
		}
		checked = append(checked, checkCase(versions[:n])...)
		versions = versions[n:]
	}
	return checked, nil
}

// checkCase checks the versions in force of one case.
func checkCase(versions []Version) []CheckedVersion {
	assessments := make([]events.Assessment, len(versions))
	byID := make(map[string]Version, len(versions))
	for i, v := range versions {
		assessments[i] = v.Assessment
		byID[v.Assessment.ID] = v
	}
	results := recist.Check(assessments)
	checked := make([]CheckedVersion, len(results))
	for i, r := range results {
		checked[i] = CheckedVersion{byID[r.Assessment], r}
	}
	return checked
}
