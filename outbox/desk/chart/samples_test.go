package chart_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
)

// conclusions by abbreviation.
var conclusions = map[string]string{
	"CR": "Complete Response", "PR": "Partial Response", "SD": "Stable Disease", "PD": "Progressive Disease",
	"NE": "Not Evaluable", "NN": "Non-CR/Non-PD", "": "No",
}

// visit returns an assessment of a case, n visits after the baseline.
func visit(n int, date, response string, lesions ...events.Lesion) events.Assessment {
	name := events.Baseline
	if n > 0 {
		name = events.FollowUp(n)
	}
	return events.Assessment{
		ID: strconv.Itoa(7100 + n), Name: name, Timepoint: int32(n), Subject: "01-704-1127",
		Effective: date, Conclusion: conclusions[response], Lesions: lesions,
	}
}

// summed returns the assessment with a recorded sum.
func summed(a events.Assessment, sum events.Decimal) events.Assessment {
	a.Measurement = &events.Measurement{
		Type: events.MeasurementType, Value: sum, Unit: events.Unit,
		ChangeFromPrevious: events.NoChange, ChangeFromBaseline: events.NoChange, ChangeFromNadir: events.NoChange,
	}
	return a
}

// target returns a target lesion. An empty value is one that is not evaluable.
func target(id, organ string, value events.Decimal) events.Lesion {
	if value == "" {
		return events.Lesion{ID: id, Category: "Target", Organ: organ, State: "Not evaluable"}
	}
	return events.Lesion{ID: id, Category: "Target", Organ: organ, State: "Present", Value: value, Unit: events.Unit}
}

func nonTarget(id, state string) events.Lesion {
	return events.Lesion{ID: id, Category: "Non-target", State: state}
}

func newLesion(id string) events.Lesion {
	return events.Lesion{ID: id, Category: "New lesion", State: "Present"}
}

// week returns the date of a week after 2 October 2013.
func week(n int) string {
	return time.Date(2013, 10, 2, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 7*n).Format(time.DateOnly)
}

// waits returns a function that reports whether an assessment is one of these.
func waits(ids ...int) func(string) bool {
	return func(id string) bool {
		for _, n := range ids {
			if id == strconv.Itoa(7100+n) {
				return true
			}
		}
		return false
	}
}

// ofSums returns a case with one target, whose diameters are these; "" is not evaluable.
func ofSums(every int, responses []string, sums ...events.Decimal) []events.Assessment {
	var out []events.Assessment
	for n, sum := range sums {
		a := visit(n, week(n*every), responses[n%len(responses)], target("T01", "Liver", sum))
		if sum != "" {
			a = summed(a, sum)
		}
		out = append(out, a)
	}
	return out
}

// case71 is a case of the CDISC pilot study. Its last visit is recorded as a partial
// response, though the targets progress.
func case71() []events.Assessment {
	organs := []string{"Adrenal gland", "Lymph node", "Bladder", "Body", "Bone"}
	values := [][]events.Decimal{
		{"17", "10", "17", "12", "17"}, {"12", "11", "5", "12", "14"}, {"5", "9", "5", "7", "14"}, {"5", "8", "12", "14", "11"},
	}
	sums, responses := []events.Decimal{"73", "54", "40", "50"}, []string{"", "SD", "PR", "PR"}
	var out []events.Assessment
	for n, of := range values {
		a := summed(visit(n, week(6*n), responses[n]), sums[n])
		for i, value := range of {
			a.Lesions = append(a.Lesions, target(fmt.Sprintf("T%02d", i+1), organs[i], value))
		}
		state := "Present"
		if n == 3 {
			state = "Not evaluable"
		}
		a.Lesions = append(a.Lesions, nonTarget("NT05", state))
		out = append(out, a)
	}
	return out
}

// checkedVisits returns the visits of a case by timepoint, with what RECIST 1.1 gives for
// them. Waits reports whether the assessment with this id waits for its sign-off.
func checkedVisits(assessments []events.Assessment, waits func(id string) bool) []chart.Visit {
	byID := make(map[string]events.Assessment, len(assessments))
	for _, a := range assessments {
		byID[a.ID] = a
	}
	var visits []chart.Visit
	for _, r := range recist.Check(assessments) {
		visits = append(visits, chart.Visit{Assessment: byID[r.Assessment], Result: r, Waits: waits(r.Assessment)})
	}
	return visits
}

// samples are cases by the name of their golden files.
func samples() map[string][]chart.Visit {
	out := map[string][]chart.Visit{}
	add := func(name string, assessments []events.Assessment, waits func(string) bool) {
		out[name] = checkedVisits(assessments, waits)
	}
	add("normal", case71(), waits(3))
	add("gap", ofSums(8, []string{"", "SD", "NE", "PR", "PR"}, "54.0", "48.5", "", "30.0", "31"), waits(2, 4))
	partial := ofSums(1, []string{"", "SD", "PR"}, "79.9", "60", "37.6")
	partial[0].Effective, partial[1].Effective, partial[2].Effective = "2013", "2014", "2014-03"
	add("partial-dates", partial, waits(2))
	months := ofSums(1, []string{"", "SD", "PR"}, "79.9", "60", "37.6")
	months[0].Effective, months[1].Effective, months[2].Effective = "2013-10", "2013-12", "2014-03-04"
	add("months", months, waits(2))

	var many []events.Decimal
	for n := range 26 {
		many = append(many, events.Decimal(strconv.FormatFloat(120-9*float64(n)+0.52*float64(n*n), 'f', 1, 64)))
	}
	long := ofSums(6, []string{"", "SD", "SD", "SD"}, many...)
	for n := range long {
		switch {
		case n > 20:
			long[n].Conclusion = conclusions["PD"]
		case n > 4:
			long[n].Conclusion = conclusions["PR"]
		}
	}
	add("visits-26", long, waits(25))
	add("nadir-0", ofSums(8, []string{"", "PR", "CR", "CR", "PD"}, "24", "11", "0", "0", "6"), waits(4))
	add("one-visit", ofSums(8, []string{""}, "42.0"), waits(0))

	var lesions [2][]events.Lesion
	for i := range 500 {
		switch id := fmt.Sprintf("L%03d", i); {
		case i < 5:
			lesions[0] = append(lesions[0], target(id, "Liver", "20"))
			lesions[1] = append(lesions[1], target(id, "Liver", "16.5"))
		case i < 100:
			lesions[0] = append(lesions[0], nonTarget(id, "Present"))
			lesions[1] = append(lesions[1], nonTarget(id, "Uneqv. prog."))
		default:
			lesions[1] = append(lesions[1], newLesion(id))
		}
	}
	add("lesions-500", []events.Assessment{
		summed(visit(0, week(0), "", lesions[0]...), "100"), summed(visit(1, week(8), "PD", lesions[1]...), "82.5"),
	}, waits(1))

	add("non-target", []events.Assessment{
		visit(0, week(0), "", nonTarget("NT01", "Present"), nonTarget("NT02", "Present")),
		visit(1, week(8), "NN", nonTarget("NT01", "Present"), nonTarget("NT02", "Disappeared")),
		visit(2, week(16), "PD", nonTarget("NT01", "Uneqv. prog."), nonTarget("NT02", "Disappeared"), newLesion("N01")),
	}, waits(2))

	markers := ofSums(6, []string{"", "PR", "SD", "PD", "PD"}, "61", "40", "44", "47", "58.5")
	markers[2].Lesions = append(markers[2].Lesions, nonTarget("NT01", "Uneqv. prog."))
	markers[3].Lesions = append(markers[3].Lesions, newLesion("N01"), nonTarget("NT01", "Uneqv. prog."))
	markers[4].Lesions = append(markers[4].Lesions, newLesion("N01"), newLesion("N02"))
	add("markers", markers, waits(3, 4))

	// The baseline and the second follow-up are there; the nadir was between them.
	history := []events.Assessment{summed(visit(0, week(0), ""), "79.9"), summed(visit(2, week(16), "PR"), "37.6")}
	history[1].Measurement.ChangeFromNadir, history[1].Measurement.ChangeFromBaseline = "-12.0 mm", "-42.3 mm"
	add("history", history, waits(0, 2))

	other := ofSums(6, []string{"", "PR", "SD", "PR"}, "61", "40", "38", "36")
	other[2].Lesions = append(other[2].Lesions, target("T09", "Lung", "12"))
	other[2].Measurement.Value = "50"
	add("other-lesions", other, waits(3))
	add("hostile", hostile(), waits(1))
	return out
}

// hostile is a case with markup and hidden characters wherever a text can be.
func hostile() []events.Assessment {
	const text = "\"><script>alert(1)</script>\u202e\x00\xff&'"
	a := summed(visit(0, week(0), "", target(text, text, "30")), "30")
	b := summed(visit(1, week(6), "PD", target(text, text, "40"), newLesion(text), nonTarget(text+"2", "Uneqv. prog.")), "40")
	a.Name, b.Name, b.Conclusion, b.Effective = text, text, text, text
	return []events.Assessment{a, b}
}

// study returns a study with so many cases. Their courses are random, but always the same.
func study(cases int) []chart.Case {
	random := rand.New(rand.NewPCG(71, uint64(cases)))
	var out []chart.Case
	for n := range cases {
		sum := 40 + float64(random.IntN(90))
		factor := 0.55 + random.Float64()*0.7
		var sums []events.Decimal
		responses := []string{""}
		first, lowest := sum, sum
		for i := range 2 + random.IntN(6) {
			sums = append(sums, events.Decimal(strconv.FormatFloat(sum, 'f', 1, 64)))
			if i > 0 {
				response := "SD"
				switch {
				case sum >= 1.2*lowest && sum >= lowest+5:
					response = "PD"
				case sum <= 0.7*first:
					response = "PR"
				}
				if random.IntN(12) == 0 {
					sums[i], response = "", "NE"
				}
				responses = append(responses, response)
			}
			lowest = min(lowest, sum)
			sum *= factor
			factor += random.Float64() * 0.25
		}
		assessments := ofSums(6+random.IntN(3), responses, sums...)
		if random.IntN(6) == 0 {
			last := &assessments[len(assessments)-1]
			last.Lesions, last.Conclusion = append(last.Lesions, newLesion("N01")), conclusions["PD"]
		}
		if n%9 == 8 {
			assessments[0].Effective = "2013"
		}
		out = append(out, chart.Case{Label: strconv.Itoa(60 + n), Visits: checkedVisits(assessments, waits())})
	}
	return out
}

// plots returns every plot of the samples by the name of its golden file.
var plots = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for name, visits := range samples() {
		out["case-"+name+"-wide"] = string(chart.Plot("w", chart.Wide, visits))
		out["case-"+name+"-narrow"] = string(chart.Plot("n", chart.Narrow, visits))
		out["spark-"+name] = string(chart.Spark("s", visits))
	}
	for name, lesion := range map[string]string{"normal": "T03", "gap": "T01", "nadir-0": "T01"} {
		out["trend-"+name] = string(chart.Trend(samples()[name], lesion))
	}
	for name, cases := range map[string][]chart.Case{
		"small": study(8), "large": study(250), "empty": nil,
		"hostile": {{Label: "\"><script>\u202e", Visits: checkedVisits(ofSums(6, []string{"", "PD"}, "10", "47"), waits())}},
	} {
		out["waterfall-"+name+"-wide"] = string(chart.Waterfall("w", chart.Wide, cases))
		out["waterfall-"+name+"-narrow"] = string(chart.Waterfall("n", chart.Narrow, cases))
		out["spider-"+name+"-wide"] = string(chart.Spider("w", chart.Wide, cases))
		out["spider-"+name+"-narrow"] = string(chart.Spider("n", chart.Narrow, cases))
	}
	return out
})
