package desktest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Sample is a case that a page must show well.
type Sample struct {
	Name  string
	About string
	Case  int32

	// Assessments of the case, all valid and of Study. Their ids are the case number
	// followed by 00, 01 and so on.
	Assessments []events.Assessment

	Sign int // how many of the first visits are signed
}

// Samples returns cases that together have what a case can have.
func Samples() []Sample {
	samples := []Sample{
		{Name: "contradiction", About: "the targets progress from the nadir, and the response is recorded as partial", Assessments: Case71(Study), Sign: 3},
		{Name: "agreement", About: "all responses are those of RECIST 1.1", Assessments: agreement(), Sign: 2},
		{Name: "judgement", About: "a partial response that continues", Assessments: judgement(), Sign: 2},
		{Name: "unknown", About: "no lesions at all, and a visit is missing", Assessments: withoutLesions(), Sign: 0},
		{Name: "one-visit", About: "only the baseline", Assessments: Case71(Study)[:1], Sign: 0},
		{Name: "no-measurement", About: "non-target lesions only, with new ones", Assessments: nonTargetsOnly(), Sign: 2},
		{Name: "gap", About: "a target that was not evaluated, and one without a row", Assessments: gap(), Sign: 2},
		{Name: "parts", About: "a target that was split, two that merged, and one that the baseline lacks", Assessments: parts(), Sign: 2},
		{Name: "partial-dates", About: "dates without a day or a month", Assessments: partialDates(), Sign: 1},
		{Name: "arithmetic", About: "a sum and a change that do not fit", Assessments: arithmetic(), Sign: 1},
		{Name: "visits-26", About: "as many visits as there can be", Assessments: manyVisits(), Sign: 25},
		{Name: "lesions-500", About: "as many lesions as there can be", Assessments: manyLesions(), Sign: 1},
		{Name: "hostile", About: "markup in every text", Assessments: hostile(), Sign: 1},
	}
	for i := range samples {
		s := &samples[i]
		s.Case = int32(71 + i)
		for j := range s.Assessments {
			a := &s.Assessments[j]
			a.ID, a.Study, a.Case.ID = fmt.Sprintf("%d%02d", s.Case, j), Study, s.Case
		}
	}
	return samples
}

// visit returns an assessment n visits after the baseline, without lesions and without a
// measurement.
func visit(n int, conclusion string, lesions ...events.Lesion) events.Assessment {
	a := events.Assessment{
		ID: strconv.Itoa(7100 + n), SponsorStudy: "CDISCPILOT01", TrialName: "Pilot", Criteria: "RECIST 1.1",
		Case: events.Case{Revision: 1}, Revision: 1, Name: events.Baseline, Timepoint: int32(n), Subject: "01-704-1127",
		Effective: time.Date(2013, 10, 2, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 42*n).Format(time.DateOnly), Conclusion: conclusion, Lesions: lesions,
	}
	if n > 0 {
		a.Name = events.FollowUp(n)
	}
	return a
}

// summed returns the assessment with a sum and its changes from the previous visit, the
// baseline and the nadir.
func summed(a events.Assessment, sum, previous, baseline, nadir string) events.Assessment {
	a.Measurement = &events.Measurement{
		Type: events.MeasurementType, Value: events.Decimal(sum), Unit: events.Unit,
		ChangeFromPrevious: previous, ChangeFromBaseline: baseline, ChangeFromNadir: nadir,
	}
	return a
}

func target(id, organ, value string) events.Lesion {
	return events.Lesion{ID: id, Category: "Target", Organ: organ, State: "Present", Value: events.Decimal(value), Unit: events.Unit, Modality: "CT", Label: "Long axis"}
}

// without returns a target in a state that has no diameter.
func without(id, organ, state string) events.Lesion {
	return events.Lesion{ID: id, Category: "Target", Organ: organ, State: state, Modality: "CT"}
}

func nonTarget(id, organ, state string) events.Lesion {
	return events.Lesion{ID: id, Category: "Non-target", Organ: organ, State: state, Modality: "CT"}
}

func newLesion(id, state string) events.Lesion {
	return events.Lesion{ID: id, Category: "New lesion", Organ: "Brain", State: state, Modality: "MR"}
}

func agreement() []events.Assessment {
	return []events.Assessment{
		summed(visit(0, "No", target("T01", "Liver", "30.0"), target("T02", "Lung", "20"), nonTarget("NT01", "Bone", "Present")), "50.0", "--", "0.0 mm", "--"),
		summed(visit(1, "Partial Response", target("T01", "Liver", "20.5"), without("T02", "Lung", "Too small"), nonTarget("NT01", "Bone", "Present")), "25.5", "-24.5 mm", "-24.5 mm", "-24.5 mm"),
		summed(visit(2, "Complete Response", without("T01", "Liver", "Disappeared"), without("T02", "Lung", "Disappeared"), nonTarget("NT01", "Bone", "Disappeared")), "0", "-25.5 mm", "-50.0 mm", "-25.5 mm"),
	}
}

func judgement() []events.Assessment {
	return []events.Assessment{
		summed(visit(0, "No", target("T01", "Liver", "100")), "100", "--", "0.0 mm", "--"),
		summed(visit(1, "Partial Response", target("T01", "Liver", "70")), "70", "-30 mm", "-30 mm", "-30 mm"),
		summed(visit(2, "Partial Response", target("T01", "Liver", "80")), "80", "+10 mm", "-20 mm", "+10 mm"),
	}
}

func withoutLesions() []events.Assessment {
	baseline := summed(visit(0, "No"), "79.9", "--", "0.0 mm", "--")
	baseline.Effective, baseline.Revision, baseline.Case.Revision = "2006-05-02T11:09:13Z", 2, 5
	second := summed(visit(2, "Partial Response"), "37.6", "-12.0 mm", "-42.3 mm", "-12.0 mm")
	second.Effective, second.Case.Revision = "2006-10-13T09:31:24Z", 5
	return []events.Assessment{baseline, second}
}

func nonTargetsOnly() []events.Assessment {
	return []events.Assessment{
		visit(0, "No", nonTarget("NT01", "Pleura", "Present"), nonTarget("NT02", "Bone", "Present")),
		visit(1, "Non-CR/Non-PD", nonTarget("NT01", "Pleura", "Stable/Improved"), nonTarget("NT02", "Bone", "Not evaluable"), newLesion("N01", "Undefined")),
		visit(2, "Stable Disease", nonTarget("NT01", "Pleura", "Uneqv. prog."), nonTarget("NT02", "Bone", "Not assessed"), newLesion("N01", "Present"), newLesion("N02", "Present")),
	}
}

func gap() []events.Assessment {
	return []events.Assessment{
		summed(visit(0, "No", target("T01", "Liver", "40"), target("T02", "Liver", "14")), "54", "--", "0.0 mm", "--"),
		visit(1, "Not Evaluable", target("T01", "Liver", "38"), without("T02", "Liver", "Not evaluable")),
		visit(2, "Stable Disease", target("T01", "Liver", "36")),
	}
}

func parts() []events.Assessment {
	return []events.Assessment{
		summed(visit(0, "No", target("T01", "Liver", "40"), target("T02", "Liver", "20"), target("T03", "Lung", "15"), target("T10", "Lung", "11")), "86", "--", "0.0 mm", "--"),
		summed(visit(1, "Stable Disease", target("T01.1", "Liver", "18"), target("T01.2", "Liver", "17"), target("T02", "Liver", "20"), target("T03/T10", "Lung", "22")), "77", "-9 mm", "-9 mm", "-9 mm"),
		summed(visit(2, "Stable Disease", target("T01.1", "Liver", "18"), target("T01.2", "Liver", "17"), target("T02", "Liver", "19"), target("T03/T10", "Lung", "20"), target("T11", "Spleen", "12")), "86", "--", "--", "--"),
	}
}

func partialDates() []events.Assessment {
	all := agreement()
	all[0].Effective, all[1].Effective, all[2].Effective = "2013", "2013-11", "2014-01-02T08:15:00+01:00"
	return all
}

func arithmetic() []events.Assessment {
	all := agreement()[:2]
	all[1].Measurement.Value, all[1].Measurement.ChangeFromNadir = "26.5", "-20.0 mm"
	return all
}

func manyVisits() []events.Assessment {
	var all []events.Assessment
	for n := range 26 {
		tenths := 1200 - 90*n + 5*n*n
		previous := 1200 - 90*(n-1) + 5*(n-1)*(n-1)
		lowest := 1200
		for i := range n {
			lowest = min(lowest, 1200-90*i+5*i*i)
		}
		value := func(tenths int) string { return fmt.Sprintf("%d.%d", tenths/10, tenths%10) }
		change := func(tenths int) string {
			switch {
			case tenths < 0:
				return "-" + value(-tenths) + " mm"
			case tenths == 0:
				return "0.0 mm"
			default:
				return "+" + value(tenths) + " mm"
			}
		}
		a := visit(n, "Stable Disease", target("T01", "Liver", value(tenths)), nonTarget("NT01", "Bone", "Present"))
		if n == 0 {
			a.Conclusion = "No"
			all = append(all, summed(a, value(tenths), "--", "0.0 mm", "--"))
			continue
		}
		if tenths*10 <= 1200*7 {
			a.Conclusion = "Partial Response"
		}
		if tenths-lowest >= 50 && 5*(tenths-lowest) >= lowest {
			a.Conclusion = "Progressive Disease"
		}
		all = append(all, summed(a, value(tenths), change(tenths-previous), change(tenths-1200), change(tenths-lowest)))
	}
	return all
}

func manyLesions() []events.Assessment {
	var lesions [2][]events.Lesion
	for i := range 500 {
		id := "L" + strconv.Itoa(i)
		switch {
		case i < 5:
			lesions[0] = append(lesions[0], target(id, "Liver", "20"))
			lesions[1] = append(lesions[1], target(id, "Liver", "16.5"))
		case i < 100:
			lesions[0] = append(lesions[0], nonTarget(id, "Bone", "Present"))
			lesions[1] = append(lesions[1], nonTarget(id, "Bone", "Uneqv. prog."))
		default:
			lesions[1] = append(lesions[1], newLesion(id, "Present"))
		}
	}
	return []events.Assessment{
		summed(visit(0, "No", lesions[0]...), "100", "--", "0.0 mm", "--"),
		summed(visit(1, "Progressive Disease", lesions[1]...), "82.5", "-17.5 mm", "-17.5 mm", "-17.5 mm"),
	}
}

// Hostile is a text with markup, with template actions and with spaces that look like the
// simple one. It is valid wherever a text may be, but not as an identifier.
const Hostile = "\"><script>alert(1)</script>{{.}}</textarea>\u00a0&amp;'`$"

func hostile() []events.Assessment {
	const id = "\"><script>alert(2)</script>{{.}}&amp;'`$"
	series := int32(7)
	all := Case71(Study)[:2]
	for i := range all {
		a := &all[i]
		a.SponsorStudy, a.TrialName, a.Subject = Hostile, Hostile, id
		for j := range a.Lesions {
			l := &a.Lesions[j]
			l.ID, l.Organ, l.SeriesDescription, l.SeriesNumber, l.InstanceNumber = id+strconv.Itoa(j), Hostile, Hostile, &series, &series
		}
		a.Lesions = append(a.Lesions, events.Lesion{ID: id + ".1", Category: "Target", Organ: Hostile, State: "Not evaluable"}, events.Lesion{ID: id})
	}
	all[1].Lesions = append(all[1].Lesions, events.Lesion{ID: id + "N", Category: "New lesion", Organ: Hostile, State: "Present"},
		events.Lesion{ID: id + "U", Category: "Non-target", Organ: Hostile, State: "Uneqv. prog."})
	return all
}
