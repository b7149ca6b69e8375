package review

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
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

// maxChecks bounds the checks that are remembered, and the visits of each of them.
const (
	maxChecks        = 512
	maxCheckedVisits = 64
)

// CheckOf is c.Check, and remembers the latest results. They depend only on the contents of
// the versions in force, and digests name those. So a case that a PI was shown need not be
// checked again when it is signed. Nobody may change what CheckOf returns.
func (r *Reviews) CheckOf(c Case) map[string]recist.Visit {
	var key strings.Builder
	for _, v := range c.Visits {
		if version := c.InForce(v); version != nil {
			key.WriteString(version.Digest)
		}
	}
	if key.Len() > maxCheckedVisits*2*sha256.Size {
		return c.Check()
	}
	if checked, ok := r.checks.Get(key.String()); ok {
		return checked
	}
	checked := c.Check()
	r.checks.Add(key.String(), checked)
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

// Check returns the versions in force of the cases that the filter selects, with what RECIST
// 1.1 gives for them, by study, case and timepoint. It reads whole cases, because the
// response at a visit depends on the others.
func (r *Reviews) Check(ctx context.Context, filter WaitingFilter) (versions []CheckedVersion, err error) {
	study := ledger.NormalizeStudy(filter.Study)
	err = r.ledger.DB.AtOneMoment(ctx, func(q database.Querier) error {
		cases, err := database.List(ctx, q, scanCaseOf, `
			select s.study, c.number
			from cases c
			join studies s on s.row = c.study
			where (? = '' or s.study = ?)
				and (? = 0 or c.number = ?)
			order by s.study, c.number`, study, study, filter.Case, filter.Case)
		if err != nil {
			return err
		}
		for _, of := range cases {
			c, err := readCase(ctx, q, whole, stored.DecodeWithDigest, of.Study, of.Number)
			if err != nil {
				return err
			}
			checked := c.Check()
			for _, v := range c.Visits {
				if version := c.InForce(v); version != nil {
					versions = append(versions, CheckedVersion{*version, checked[v.ID]})
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check cases: %w", err)
	}
	return versions, nil
}

// FindingCount is how many visits have a finding.
type FindingCount struct {
	Code   string       `json:"code"`
	Level  recist.Level `json:"level"`
	Visits int          `json:"visits"`
}

// CountFindings returns how many visits have each finding, by level and code.
func CountFindings(checked []CheckedVersion) []FindingCount {
	counts := []FindingCount{}
	for _, v := range checked {
		seen := map[string]bool{}
		for _, f := range v.Result.Findings {
			if seen[f.Code] {
				continue
			}
			seen[f.Code] = true
			i := slices.IndexFunc(counts, func(c FindingCount) bool { return c.Code == f.Code && c.Level == f.Level })
			if i < 0 {
				i, counts = len(counts), append(counts, FindingCount{Code: f.Code, Level: f.Level})
			}
			counts[i].Visits++
		}
	}
	levels := []recist.Level{recist.Contradiction, recist.Judgement, recist.NotComputed, recist.Note}
	slices.SortFunc(counts, func(a, b FindingCount) int {
		return cmp.Or(cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level)), cmp.Compare(a.Code, b.Code))
	})
	return counts
}
