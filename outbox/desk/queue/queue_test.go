package queue_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/queue"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// visit returns a visit of which a version waits: one target with this diameter, "" for none.
func visit(n int, value, conclusion string) review.Visit {
	a := events.Assessment{
		ID: fmt.Sprint(n), Case: events.Case{ID: 1, Revision: 1}, Revision: 1, Name: events.Baseline, Timepoint: int32(n),
		Subject: "S", Effective: "2026-01-05", Conclusion: conclusion,
		Lesions: []events.Lesion{{ID: "T01", Category: "Target", Organ: "Liver", State: "Present", Value: events.Decimal(value), Unit: events.Unit}},
	}
	if n > 0 {
		a.Name = events.FollowUp(n)
	}
	if value == "" {
		a.Lesions[0].State, a.Lesions[0].Unit = "Not evaluable", ""
	} else {
		a.Measurement = &events.Measurement{
			Type: events.MeasurementType, Value: events.Decimal(value), Unit: events.Unit,
			ChangeFromPrevious: events.NoChange, ChangeFromBaseline: events.NoChange, ChangeFromNadir: events.NoChange,
		}
	}
	return review.Visit{ID: a.ID, Waiting: &review.Version{Waiting: review.Waiting{Assessment: a}, State: review.VersionWaiting}}
}

// sign makes the waiting version of a visit the signed one.
func sign(v review.Visit) review.Visit {
	signed := *v.Waiting
	signed.State = review.VersionSigned
	return review.Visit{ID: v.ID, Signed: &signed}
}

// again makes a changed version of a signed visit wait.
func again(v review.Visit, change func(*events.Assessment)) review.Visit {
	next := *v.Signed
	next.State = review.VersionWaiting
	next.Assessment.Lesions = append([]events.Lesion{}, next.Assessment.Lesions...)
	change(&next.Assessment)
	v.Waiting = &next
	return v
}

// fillChanges sets the changes of the sums, where there are none, to what they are.
func fillChanges(visits []review.Visit) {
	var sums []int
	for _, v := range visits {
		for _, version := range []*review.Version{v.Signed, v.Waiting} {
			if version == nil || version.Assessment.Measurement == nil {
				continue
			}
			m := *version.Assessment.Measurement
			sum, _ := strconv.Atoi(string(version.Assessment.Lesions[0].Value))
			for i, change := range []*string{&m.ChangeFromPrevious, &m.ChangeFromBaseline, &m.ChangeFromNadir} {
				if *change == events.NoChange && len(sums) > 0 {
					*change = fmt.Sprintf("%+d.0 mm", sum-[]int{sums[len(sums)-1], sums[0], slices.Min(sums)}[i])
				} else if i == 1 && len(sums) == 0 {
					*change = "0.0 mm"
				}
			}
			version.Assessment.Measurement = &m
		}
		for _, version := range []*review.Version{v.Signed, v.Waiting} {
			if version != nil && version.Assessment.Measurement != nil {
				sum, _ := strconv.Atoi(string(version.Assessment.Lesions[0].Value))
				sums = append(sums, sum)
				break
			}
		}
	}
}

func rowOf(visits ...review.Visit) queue.Row {
	fillChanges(visits)
	c := review.QueuedCase{Case: review.Case{Study: "A", Number: 1, Subject: "S", Visits: visits}}
	for _, v := range visits {
		if v.Signed != nil {
			c.Revision = max(c.Revision, v.Signed.Assessment.Case.Revision)
		}
	}
	return queue.NewRow("x", c, c.Check())
}

func TestVerdicts(t *testing.T) {
	undefined := visit(1, "30", "Undefined")
	wrongSum := visit(1, "30", "Partial Response")
	wrongSum.Waiting.Assessment.Measurement.Value = "31"
	both := visit(1, "30", "Partial Response")
	both.Waiting.Assessment.Measurement.Value = "31"
	both.Waiting.Assessment.Measurement.ChangeFromBaseline = "-1.0 mm"
	bare := visit(1, "30", "Partial Response")
	bare.Waiting.Assessment.Lesions, bare.Waiting.Assessment.Measurement = nil, nil
	bareBaseline := visit(0, "50", "No")
	bareBaseline.Waiting.Assessment.Lesions, bareBaseline.Waiting.Assessment.Measurement = nil, nil
	withoutTarget := visit(1, "", "Not Evaluable")
	withoutTarget.Waiting.Assessment.Measurement = visit(1, "30", "").Waiting.Assessment.Measurement
	for _, c := range []struct {
		name   string
		visits []review.Visit
		want   queue.Verdict
	}{
		{"a baseline", []review.Visit{visit(0, "50", "No")}, queue.Verdict{Text: "No response at baseline"}},
		{"agreement", []review.Visit{visit(0, "50", "No"), visit(1, "30", "Partial Response")}, queue.Verdict{Grade: queue.Agrees, Text: "Agrees"}},
		{"another response", []review.Visit{visit(0, "50", "No"), visit(1, "30", "Stable Disease")}, queue.Verdict{Grade: queue.Contradiction, Text: "RECIST 1.1 gives", Gives: recist.PR}},
		{"an earlier visit contradicts", []review.Visit{visit(0, "50", "No"), visit(1, "30", "Stable Disease"), visit(2, "31", "Partial Response")}, queue.Verdict{Grade: queue.Contradiction, Visit: "Follow-up 1", Text: "RECIST 1.1 gives", Gives: recist.PR}},
		{"two contradict", []review.Visit{visit(0, "50", "No"), visit(1, "30", "Stable Disease"), visit(2, "31", "Stable Disease"), visit(3, "60", "Stable Disease")}, queue.Verdict{Grade: queue.Contradiction, Text: "RECIST 1.1 gives", Gives: recist.PD, More: "and 2 more visits"}},
		{"a signed visit contradicts", []review.Visit{visit(0, "50", "No"), sign(visit(1, "30", "Stable Disease")), visit(2, "31", "Partial Response")}, queue.Verdict{Grade: queue.Agrees, Text: "Agrees"}},
		{"another sum", []review.Visit{visit(0, "50", "No"), wrongSum}, queue.Verdict{Grade: queue.Contradiction, Text: "The recorded sum is not that of the targets"}},
		{"another sum and another change", []review.Visit{visit(0, "50", "No"), both}, queue.Verdict{Grade: queue.Contradiction, Text: "The recorded sum is not that of the targets, and 1 more"}},
		{"a sum without a target", []review.Visit{visit(0, "50", "No"), withoutTarget}, queue.Verdict{Grade: queue.Contradiction, Text: "A sum is recorded although a target has none"}},
		{"progression earlier", []review.Visit{sign(visit(0, "50", "No")), sign(visit(1, "70", "Progressive Disease")), visit(2, "30", "Partial Response")}, queue.Verdict{Grade: queue.Judgement, Text: "Your judgement: PD earlier, at Follow-up 1"}},
		{"a response that may continue", []review.Visit{sign(visit(0, "100", "No")), sign(visit(1, "70", "Partial Response")), visit(2, "80", "Partial Response")}, queue.Verdict{Grade: queue.Judgement, Text: "Your judgement: PR may continue"}},
		{"no response recorded", []review.Visit{visit(0, "50", "No"), undefined}, queue.Verdict{Text: "No response recorded; RECIST 1.1 gives", Gives: recist.PR}},
		{"not enough", []review.Visit{bareBaseline, bare}, queue.Verdict{Grade: queue.NotComputed, Text: "Not enough in the record to check"}},
		{"nothing that can be signed", []review.Visit{again(sign(visit(0, "50", "No")), func(a *events.Assessment) { a.Case.Revision = 0 })}, queue.Verdict{Text: "Not checked, because it cannot be signed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rowOf(c.visits...).Verdict); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatWaitsAndWhatChanged(t *testing.T) {
	signed := sign(visit(1, "30", "Partial Response"))
	signed.Signed.Assessment.Lesions = append(signed.Signed.Assessment.Lesions, events.Lesion{ID: "T02"}, events.Lesion{ID: "T03"}, events.Lesion{ID: "T04"})
	many := again(signed, func(a *events.Assessment) {
		a.Revision, a.Conclusion = 2, "Stable Disease"
		for i := range a.Lesions {
			a.Lesions[i].Organ = "Lung"
		}
	})
	withdrawn := again(sign(visit(1, "30", "Partial Response")), func(a *events.Assessment) { a.Case.Revision, a.Revision = 2, 2 })
	withdrawn.Signed.Withdrawal = &review.WithdrawalRecord{}
	other := visit(1, "30", "Partial Response")
	other.Waiting.Assessment.Subject = "T"
	var whole, changed []review.Visit
	whole, changed = append(whole, visit(0, "50", "No")), append(changed, sign(visit(0, "50", "No")))
	for n := 1; n <= 25; n++ {
		whole = append(whole, visit(n, "50", "Stable Disease"))
		changed = append(changed, again(sign(visit(n, "50", "Stable Disease")), func(a *events.Assessment) { a.Case.Revision = 2 }))
	}
	for _, c := range []struct {
		name    string
		visits  []review.Visit
		waits   string
		changed []string
	}{
		{"nothing was signed", []review.Visit{visit(0, "50", "No"), visit(1, "30", "Partial Response")}, "Baseline, Follow-up 1", []string{"Nothing signed yet"}},
		{"a visit is new", []review.Visit{sign(visit(0, "50", "No")), visit(1, "30", "Partial Response")}, "Follow-up 1", []string{"New visit"}},
		{"two visits are new", []review.Visit{sign(visit(0, "50", "No")), visit(1, "30", "Partial Response"), visit(2, "30", "Partial Response")}, "Follow-up 1, Follow-up 2", []string{"New: Follow-up 1, Follow-up 2"}},
		{"much has changed", []review.Visit{sign(visit(0, "50", "No")), many}, "Follow-up 1", []string{
			"Revision 2: conclusion Partial Response → Stable Disease; T01 organ Liver → Lung; T02 organ none → Lung, and 2 more",
		}},
		{"nothing but the revisions", []review.Visit{sign(visit(0, "50", "No")), withdrawn}, "Follow-up 1", []string{
			"The signed version is withdrawn. Case revision 2, revision 2: nothing else changed",
		}},
		{"it is about another subject", []review.Visit{sign(visit(0, "50", "No")), other}, "Follow-up 1", []string{"cannot be signed: it is registered for subject T, and the case is of subject S"}},
		{"nothing of a large case was signed", whole, "Baseline, Follow-up 1, Follow-up 2, Follow-up 3 and 22 more", []string{"Nothing signed yet"}},
		{"many visits changed", changed, "Follow-up 1, Follow-up 2, Follow-up 3, Follow-up 4 and 21 more", []string{
			"Follow-up 1: Case revision 2: nothing else changed", "Follow-up 2: Case revision 2: nothing else changed", "Follow-up 3: Case revision 2: nothing else changed", "and 22 more visits that changed",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rowOf(c.visits...)
			if diff := cmp.Diff(c.changed, r.Changed); diff != "" || r.Waits != c.waits {
				t.Errorf("waits %q; %s", r.Waits, diff)
			}
		})
	}
}

func TestSums(t *testing.T) {
	missing := visit(1, "", "Not Evaluable")
	for n := range 6 {
		missing.Waiting.Assessment.Lesions = append(missing.Waiting.Assessment.Lesions, events.Lesion{ID: fmt.Sprintf("T1%d", n), Category: "Target"})
	}
	r := rowOf(visit(0, "50", "No"), missing)
	if r.Sum != "" || r.NoSum != "T01 not evaluable, T10 without a diameter, T11 without a diameter and 4 more" {
		t.Errorf("%q %q", r.Sum, r.NoSum)
	}
	r = rowOf(visit(0, "5.00E1", "No"))
	if r.Sum != "5.00E1 mm" || r.FromNadir != "" || r.Recorded != "No" || !strings.Contains(string(r.Spark), `aria-labelledby="x-sums`) {
		t.Errorf("%+v", r)
	}
}
