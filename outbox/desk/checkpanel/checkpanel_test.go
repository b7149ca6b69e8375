package checkpanel_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/desk/checkpanel"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

var update = flag.Bool("update", false, "write the golden file anew")

// situation is a case in short: diameters of a target by visit, with the conclusions.
type situation struct {
	about       string
	diameters   []string // of target T01; a word is a state
	conclusions []string
	more        map[int][]events.Lesion // by visit
	sums        map[int]string
}

func (s situation) visits() []events.Assessment {
	var all []events.Assessment
	for n, d := range s.diameters {
		a := events.Assessment{ID: fmt.Sprint(7100 + n), Name: events.Baseline, Timepoint: int32(n), Conclusion: s.conclusions[n]}
		if n > 0 {
			a.Name = events.FollowUp(n)
		}
		l := events.Lesion{ID: "T01", Category: "Target", Organ: "Liver", State: "Present", Value: events.Decimal(d), Unit: events.Unit}
		if strings.Trim(d, "0123456789.") != "" {
			l.State, l.Value, l.Unit = d, "", ""
		}
		a.Lesions = []events.Lesion{l}
		if d == "" {
			a.Lesions = nil
		}
		a.Lesions = append(a.Lesions, s.more[n]...)
		if sum := s.sums[n]; sum != "" {
			a.Measurement = &events.Measurement{Type: events.MeasurementType, Value: events.Decimal(sum), Unit: events.Unit, ChangeFromPrevious: "--", ChangeFromBaseline: "--", ChangeFromNadir: "--"}
		}
		all = append(all, a)
	}
	return all
}

func lesion(id, category, state string) events.Lesion {
	return events.Lesion{ID: id, Category: category, State: state}
}

const (
	pr = "Partial Response"
	cr = "Complete Response"
	sd = "Stable Disease"
	pd = "Progressive Disease"
	ne = "Not Evaluable"
)

var situations = []situation{
	{about: "growth from a nadir of 0", diameters: []string{"40", "Disappeared", "5"}, conclusions: []string{"No", cr, cr}},
	{about: "disease after a complete response", diameters: []string{"40", "Disappeared", "4"}, conclusions: []string{"No", cr, pr}},
	{about: "disease after a complete response, called stable", diameters: []string{"40", "Disappeared", "4"}, conclusions: []string{"No", cr, sd}},
	{about: "a new lesion beside a response", diameters: []string{"100", "50"}, conclusions: []string{"No", pr}, more: map[int][]events.Lesion{1: {lesion("N01", "New lesion", "Present")}}},
	{about: "many new lesions", diameters: []string{"100", "50"}, conclusions: []string{"No", ne}, more: map[int][]events.Lesion{1: {
		lesion("N01", "New lesion", "Present"), lesion("N02", "New lesion", "Present"), lesion("N03", "New lesion", "Present"), lesion("N04", "New lesion", "Present"),
		lesion("N05", "New lesion", "Present"), lesion("N06", "New lesion", "Present"), lesion("N07", "New lesion", "Present"),
	}}},
	{about: "progression of non-targets", diameters: []string{"30", "20"}, conclusions: []string{"No", pr}, more: map[int][]events.Lesion{
		0: {lesion("NT01", "Non-target", "Present"), lesion("NT02", "Non-target", "Present")},
		1: {lesion("NT01", "Non-target", "Uneqv. prog."), lesion("NT02", "Non-target", "Uneqv. prog.")},
	}},
	{about: "progression of a non-target beside a node of normal size that is called progressed", diameters: []string{"30", "20"}, conclusions: []string{"No", pr}, more: map[int][]events.Lesion{
		0: {lesion("NT01", "Non-target", "Present"), {ID: "NT02", Category: "Non-target", Organ: "Lymph node", State: "Present", Value: "12", Unit: "mm"}},
		1: {lesion("NT01", "Non-target", "Uneqv. prog."), {ID: "NT02", Category: "Non-target", Organ: "Lymph node", State: "Uneqv. prog.", Value: "8", Unit: "mm"}},
	}},
	{about: "progression by all", diameters: []string{"100", "40", "60"}, conclusions: []string{"No", pr, pr}, more: map[int][]events.Lesion{
		0: {lesion("NT01", "Non-target", "Present")}, 1: {lesion("NT01", "Non-target", "Present")},
		2: {lesion("NT01", "Non-target", "Uneqv. prog."), lesion("N01", "New lesion", "Present")},
	}},
	{about: "progression whatever the missing target adds", diameters: []string{"20", "60"}, conclusions: []string{"No", ne}, more: map[int][]events.Lesion{
		0: {{ID: "T02", Category: "Target", State: "Present", Value: "10", Unit: "mm"}}, 1: {lesion("T02", "Target", "Not evaluable")},
	}},
	{about: "progression whatever the missing target adds, beside a new lesion", diameters: []string{"20", "60"}, conclusions: []string{"No", ne}, more: map[int][]events.Lesion{
		0: {{ID: "T02", Category: "Target", State: "Present", Value: "10", Unit: "mm"}}, 1: {lesion("T02", "Target", "Not evaluable"), lesion("N01", "New lesion", "Present")},
	}},
	{about: "a partial response that is called stable", diameters: []string{"100", "70"}, conclusions: []string{"No", sd}},
	{about: "what only looks like the threshold", diameters: []string{"84.5", "59.18"}, conclusions: []string{"No", pr}},
	{about: "a complete response of the targets only", diameters: []string{"40", "Disappeared"}, conclusions: []string{"No", cr}, more: map[int][]events.Lesion{
		0: {lesion("NT01", "Non-target", "Present")}, 1: {lesion("NT01", "Non-target", "Present")},
	}},
	{about: "a complete response that is called partial", diameters: []string{"40", "Disappeared"}, conclusions: []string{"No", pr}},
	{about: "a target that was not evaluated", diameters: []string{"40", "Not evaluable"}, conclusions: []string{"No", sd}},
	{about: "non-targets only", diameters: []string{"", ""}, conclusions: []string{"No", pr}, more: map[int][]events.Lesion{
		0: {lesion("NT01", "Non-target", "Present")}, 1: {lesion("NT01", "Non-target", "Present")},
	}},
	{about: "a response that continues", diameters: []string{"100", "70", "80"}, conclusions: []string{"No", pr, pr}},
	{about: "a response after progression", diameters: []string{"50", "70", "30"}, conclusions: []string{"No", pd, pr}},
	{about: "a conclusion that is no response", diameters: []string{"50", "30"}, conclusions: []string{"No", "Undefined"}},
	{about: "a sum that is none", diameters: []string{"50", "30"}, conclusions: []string{"No", pr}, sums: map[int]string{0: "49", 1: "30"}},
	{about: "a response at the baseline", diameters: []string{"50"}, conclusions: []string{sd}, sums: map[int]string{0: "50"}},
}

// text returns a panel as text.
func text(p checkpanel.Panel) string {
	var b strings.Builder
	title := p.Title
	if title == "" {
		title = fmt.Sprintf("%s is recorded as %s, RECIST 1.1 gives %s and admits %s", p.Visit, p.Recorded, p.Derived, p.Admissible)
	}
	fmt.Fprintf(&b, "  %s: %s\n", p.Level, title)
	for i, r := range p.Reasons {
		fmt.Fprintf(&b, "    %d. %s", i+1, r.Text)
		if r.Strong != "" {
			fmt.Fprintf(&b, "*%s*", r.Strong)
		}
		b.WriteString(r.End + "\n")
	}
	for _, r := range p.Remarks {
		fmt.Fprintf(&b, "    %s\n", r)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "    note: %s\n", n)
	}
	for _, s := range p.Sections {
		fmt.Fprintf(&b, "    section: %s\n", s)
	}
	for _, s := range p.Others {
		fmt.Fprintf(&b, "    source: %s\n", s)
	}
	return b.String()
}

func TestPanelsSayWhatRECISTGives(t *testing.T) {
	var b strings.Builder
	add := func(about string, visits []events.Assessment) {
		fmt.Fprintf(&b, "%s\n", about)
		byID := map[string]events.Assessment{}
		for _, a := range visits {
			byID[a.ID] = a
		}
		checked := map[string]recist.Visit{}
		results := recist.Check(visits)
		for _, v := range results {
			checked[v.Assessment] = v
		}
		for _, v := range results {
			p := checkpanel.Of(byID[v.Assessment], v, checked)
			b.WriteString(text(p))
			if (p.Level == checkpanel.Contradicts) != v.Contradicts() {
				t.Errorf("%s, %s: the level is %s", about, v.Name, p.Level)
			}
			if p.Level == checkpanel.Agrees && v.Derived == recist.Unknown {
				t.Errorf("%s, %s is said to agree, though nothing was computed", about, v.Name)
			}
			if (p.Level == checkpanel.Contradicts) != (len(p.Reasons) > 0) {
				t.Errorf("%s, %s: %d reasons for %s", about, v.Name, len(p.Reasons), p.Level)
			}
		}
	}
	for _, s := range desktest.Samples() {
		if len(s.Assessments) < 10 && s.Name != "hostile" {
			add(s.About, s.Assessments)
		}
	}
	for _, s := range situations {
		add(s.about, s.visits())
	}
	golden := filepath.Join("testdata", "panels.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}
