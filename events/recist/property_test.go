package recist_test

import (
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

var conclusions = rapid.SampledFrom(events.Conclusions)

// wildCase returns a case of any lesions, states and values, mostly without sense.
func wildCase(t *rapid.T) []events.Assessment {
	ids := rapid.SampledFrom([]string{"T01", "T02", "T02.1", "T02.2", "T01/T02", "T03", "N1", "N2", "X"})
	value := rapid.SampledFrom([]events.Decimal{"", "", "0", "4", "5.0", "9.99", "10", "12.5", "15", "30", "1E2", "999999999999999999e18", "1e-18"})
	change := rapid.SampledFrom([]string{"--", "0.0 mm", "-5 mm", "+5 mm", "-1000 mm", "12.5 mm"})
	var visits []events.Assessment
	for i := range rapid.IntRange(0, 6).Draw(t, "visits") {
		a := events.Assessment{ID: strconv.Itoa(i), Name: "Visit " + strconv.Itoa(i), Timepoint: int32(i), Conclusion: conclusions.Draw(t, "conclusion")}
		if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
			a.Timepoint = rapid.Int32Range(0, 9).Draw(t, "timepoint")
		}
		if v := value.Draw(t, "sum"); v != "" {
			measure(&a, string(v), change.Draw(t, "previous"), change.Draw(t, "baseline"), change.Draw(t, "nadir"))
		}
		for range rapid.IntRange(0, 6).Draw(t, "lesions") {
			l := events.Lesion{
				ID: ids.Draw(t, "id"), Value: value.Draw(t, "value"),
				Category: rapid.SampledFrom(append([]string{""}, events.LesionCategories...)).Draw(t, "category"),
				State:    rapid.SampledFrom(append([]string{""}, events.LesionStates...)).Draw(t, "state"),
				Label:    rapid.SampledFrom(append([]string{""}, events.LesionLabels...)).Draw(t, "label"),
				Organ:    rapid.SampledFrom([]string{"", "LYMPH NODE", "Lung", "Liver"}).Draw(t, "organ"),
			}
			if !slices.ContainsFunc(a.Lesions, func(o events.Lesion) bool { return o.ID == l.ID }) {
				a.Lesions = append(a.Lesions, l)
			}
		}
		visits = append(visits, a)
	}
	return visits
}

// tameCase returns a case whose targets are all measured at every visit, without nodes.
// The diameters are whole tenths of a mm.
func tameCase(t *rapid.T) []events.Assessment {
	n := rapid.IntRange(1, 4).Draw(t, "targets")
	var visits []events.Assessment
	for i := range rapid.IntRange(2, 6).Draw(t, "visits") {
		a := events.Assessment{ID: strconv.Itoa(i), Name: "Visit " + strconv.Itoa(i), Timepoint: int32(i), Conclusion: "Undefined"}
		for j := range n {
			tenths := rapid.IntRange(0, 400).Draw(t, "tenths")
			a.Lesions = append(a.Lesions, events.Lesion{ID: "T" + strconv.Itoa(j), Category: "Target", State: "Present", Unit: "mm",
				Value: events.Decimal(big.NewRat(int64(tenths), 10).FloatString(1))})
		}
		visits = append(visits, a)
	}
	return visits
}

// clone returns a copy that shares nothing that a test changes.
func clone(visits []events.Assessment) []events.Assessment {
	out := slices.Clone(visits)
	for i := range out {
		out[i].Lesions = slices.Clone(out[i].Lesions)
	}
	return out
}

func TestTheOrderOfLesionsAndVisitsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := wildCase(t)
		want := texts(recist.Check(visits))
		other := clone(visits)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		random.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		for _, a := range other {
			random.Shuffle(len(a.Lesions), func(i, j int) { a.Lesions[i], a.Lesions[j] = a.Lesions[j], a.Lesions[i] })
		}
		if got := texts(recist.Check(other)); !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\nnot\n%v", got, want)
		}
	})
}

// texts returns results in a form that can be compared. Equal fractions may differ in how
// they are stored.
func texts(visits []recist.Visit) []string {
	var out []string
	for _, v := range visits {
		text := strings.Join([]string{v.Assessment, short(v), strconv.FormatBool(v.New), v.Sum.String(), v.Baseline.String(), v.Nadir.String()}, " ")
		for _, f := range v.Findings {
			text += "\n" + string(f.Level) + " " + f.Code + " " + f.Text + " " + strings.Join(f.Lesions, ",") + " " + f.Source
		}
		out = append(out, text)
	}
	return out
}

func TestALaterVisitNeverChangesAnEarlierOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := wildCase(t)
		for i := range visits {
			visits[i].Timepoint = int32(i)
			for j, l := range visits[i].Lesions { // the one exception is an equivocal new lesion
				if l.Category == "New lesion" && (l.State == "" || l.State == "Undefined" || l.State == "Too small") {
					visits[i].Lesions[j].State = "Present"
				}
			}
		}
		whole := texts(recist.Check(visits))
		for n := range visits {
			if got := texts(recist.Check(visits[:n])); !slices.Equal(got, whole[:n]) {
				t.Fatalf("with %d visits %v\nwith all %v", n, got, whole[:n])
			}
		}
	})
}

func TestAnUnequivocalNewLesionIsProgression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := wildCase(t)
		if len(visits) < 2 {
			return
		}
		for i := range visits {
			visits[i].Timepoint = int32(i)
		}
		i := rapid.IntRange(1, len(visits)-1).Draw(t, "visit")
		visits[i].Lesions = append(visits[i].Lesions, events.Lesion{ID: "NEW", Category: "New lesion", State: "Present"})
		if v := recist.Check(visits)[i]; v.Derived != recist.PD || !v.New {
			t.Fatalf("%s %v", short(v), v.New)
		}
	})
}

func TestTheDerivedResponseIsNeverAmongTheAdmissibleOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, v := range recist.Check(wildCase(t)) {
			if slices.Contains(v.Admissible, v.Derived) || len(v.Admissible) > 0 && v.Derived == recist.Unknown {
				t.Fatalf("%s", short(v))
			}
			for _, f := range v.Findings {
				if f.Code == "overall-differs" && (v.Recorded == v.Derived || slices.Contains(v.Admissible, v.Recorded)) {
					t.Fatalf("%s, recorded %s: %s", short(v), v.Recorded, f.Text)
				}
			}
		}
	})
}

func TestADecimalZeroChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := tameCase(t)
		longer := clone(visits)
		for _, a := range longer {
			for i := range a.Lesions {
				a.Lesions[i].Value += "0"
			}
		}
		if got, want := texts(recist.Check(longer)), texts(recist.Check(visits)); !slices.Equal(got, want) {
			t.Fatalf("%v\nnot\n%v", got, want)
		}
	})
}

// Whatever is 20 % and 5 mm more stays so when it is made larger, and partial responses are
// relations between sums alone.
func TestScalingChangesNothingButTheRuleOfFiveMillimetres(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := tameCase(t)
		factor := big.NewRat(int64(rapid.IntRange(11, 90).Draw(t, "tenths")), 10)
		larger := clone(visits)
		for _, a := range larger {
			for i, l := range a.Lesions {
				value, _ := new(big.Rat).SetString(string(l.Value))
				a.Lesions[i].Value = events.Decimal(value.Mul(value, factor).FloatString(2))
			}
		}
		before, after := recist.Check(visits), recist.Check(larger)
		for i := range before {
			b, a := before[i], after[i]
			if b.Target == a.Target {
				continue
			}
			growth := new(big.Rat).Sub(rat(b.Sum), rat(b.Nadir))
			if a.Target != recist.PD || growth.Cmp(big.NewRat(5, 1)) >= 0 {
				t.Fatalf("%s became %s", short(b), short(a))
			}
		}
	})
}

// rat returns a length that is known.
func rat(l recist.Length) *big.Rat {
	r, ok := new(big.Rat).SetString(strings.TrimSuffix(l.String(), " mm"))
	if !ok {
		panic(l.String())
	}
	return r
}

// The response of targets that are all measured is one, and the one of the rules as they
// are written.
func TestTargetsHaveTheResponseOfTheirSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		visits := tameCase(t)
		for _, v := range recist.Check(visits)[1:] {
			if v.Target == recist.Unknown {
				continue // the baseline is 0
			}
			sum, baseline, nadir := rat(v.Sum), rat(v.Baseline), rat(v.Nadir)
			of := func(percent int64, r *big.Rat) *big.Rat { return new(big.Rat).Mul(r, big.NewRat(percent, 100)) }
			want := recist.SD
			switch {
			case sum.Sign() == 0:
				want = recist.CR
			case new(big.Rat).Sub(sum, nadir).Cmp(big.NewRat(5, 1)) >= 0 && sum.Cmp(of(120, nadir)) >= 0:
				want = recist.PD
			case sum.Cmp(of(70, baseline)) <= 0:
				want = recist.PR
			}
			if v.Target != want {
				t.Fatalf("%s, want %s: %s, baseline %s, nadir %s", short(v), want, v.Sum, v.Baseline, v.Nadir)
			}
		}
	})
}

func TestPercent(t *testing.T) {
	for _, e := range []struct{ from, to, want string }{
		{"84.5", "59.18", "-29.96 %"}, {"100", "70", "-30.0 %"}, {"100", "70.04", "-29.96 %"}, {"100", "70.0001", "-29.9999 %"},
		{"100", "69.96", "-30.04 %"}, {"40", "50", "+25.0 %"}, {"100", "120", "+20.0 %"}, {"1000", "1199.9", "+19.99 %"},
		{"3", "4", "+33.3 %"}, {"100", "100", "0.0 %"}, {"10000", "9999", "0.0 %"}, {"1000", "1000.5", "+0.1 %"}, {"1000", "999.5", "-0.1 %"},
		{"0", "4", "--"}, {"100", "80", "-20.0 %"},
	} {
		visits := caseOf("t " + e.from + " | " + e.to)
		result := recist.Check(visits)
		if got := recist.Percent(result[0].Sum, result[1].Sum); got != e.want {
			t.Errorf("from %s to %s: %s, want %s", e.from, e.to, got, e.want)
		}
	}
	if got := recist.Percent(recist.Length{}, recist.Length{}); got != "--" {
		t.Errorf("of no length: %s", got)
	}
}

// FuzzCheck returns a result for each visit, whatever the lesions are.
func FuzzCheck(f *testing.F) {
	f.Add(uint64(1), "T01", "T02.1", "10", "-5 mm")
	f.Add(uint64(2), "T01/T02", "T02", "1E18", "+999999999999999999.999999999999999999 mm")
	f.Add(uint64(3), "/", "T.1.1.1", "1e-18", "mm")
	f.Add(uint64(4), "\xff", "", "1e999999999", "-- mm")
	f.Fuzz(func(t *testing.T, seed uint64, first, second, value, change string) {
		random := rand.New(rand.NewPCG(seed, 1))
		pick := func(from ...string) string { return from[random.IntN(len(from))] }
		var visits []events.Assessment
		for i := range random.IntN(6) {
			a := events.Assessment{ID: pick("1", "2", first), Name: pick("Baseline", second), Timepoint: int32(i - random.IntN(2)*random.IntN(3)),
				Conclusion: pick(append(slices.Clone(events.Conclusions), change)...)}
			if random.IntN(2) == 0 {
				measure(&a, pick(value, "10"), pick(change, "--"), pick(change, "--"), pick(change, "--"))
			}
			for range random.IntN(5) {
				a.Lesions = append(a.Lesions, events.Lesion{
					ID: pick(first, second, first+".1", second+".2", first+"/"+second), Category: pick(append(slices.Clone(events.LesionCategories), "", change)...),
					State: pick(append(slices.Clone(events.LesionStates), "", change)...), Label: pick("", "Short axis", "Long axis", change),
					Organ: pick("lymph node", "", second), Value: events.Decimal(pick(value, "", "0", "9.5")),
				})
			}
			visits = append(visits, a)
		}
		result := recist.Check(visits)
		if len(result) != len(visits) {
			t.Fatalf("%d results of %d visits", len(result), len(visits))
		}
		_ = texts(result)
	})
}
