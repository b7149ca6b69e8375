package chart_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/chart"
)

var update = flag.Bool("update", false, "write the golden files")

func TestPlotsAreAsInTheGoldenFiles(t *testing.T) {
	wanted := map[string]bool{}
	for name, svg := range plots() {
		file := filepath.Join("testdata", name+".svg")
		wanted[file] = true
		got := strings.ReplaceAll(svg, "><", ">\n<") + "\n" // so that a difference is a line
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !wanted[file] {
			t.Errorf("no plot is compared with %s", file)
		}
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	for name, svg := range plots() {
		if err := check(svg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two plots of one page must not share an id.
func TestIDsBeginWithTheIDOfTheCaller(t *testing.T) {
	visits := samples()["markers"]
	page := "<p>" + string(chart.Plot("a", chart.Wide, visits)) + string(chart.Plot("b", chart.Narrow, visits)) +
		string(chart.Spark("c", visits)) + string(chart.Plot("\"> d", chart.Wide, visits)) + "</p>"
	if err := uniqueIDs(page); err != nil {
		t.Error(err)
	}
	if !strings.Contains(page, `id="---d-t"`) {
		t.Error("an id with markup is not made safe")
	}
}

func TestPlotsHaveNoStyleAttributeAndNoScript(t *testing.T) {
	for name, svg := range plots() {
		_, tags := texts(t, svg)
		if bad := regexp.MustCompile(`<(script|style|a|image|use)\b| (style|on[a-z]+|href|fill|stroke)=`).FindString(tags); bad != "" {
			t.Errorf("%s contains %q", name, bad)
		}
	}
}

func TestHostileTextIsEscapedAndMadeVisible(t *testing.T) {
	svg := plots()["case-hostile-wide"]
	if strings.Contains(svg, "<script") || strings.ContainsRune(svg, '\u202e') || !utf8.ValidString(svg) {
		t.Errorf("the text is in the plot as it is: %s", svg)
	}
	all, _ := texts(t, svg)
	if want := "\"><script>alert(1)</script>[U+202E][U+0000][U+FFFD]&'"; !strings.Contains(all, want) {
		t.Errorf("the plot does not show %s: %s", want, all)
	}
	label, _ := texts(t, plots()["waterfall-hostile-wide"])
	if strings.ContainsRune(label, '\u202e') {
		t.Error("a label has a hidden character")
	}
}

// Every class of a plot has a rule, so that no shape is drawn in black by default.
func TestStyleSheetHasTheClasses(t *testing.T) {
	ruled := map[string]bool{"pt": true, "lb": true, "dot": true}
	for _, m := range regexp.MustCompile(`\.([a-z][a-z-]*)`).FindAllStringSubmatch(chart.CSS, -1) {
		ruled[m[1]] = true
	}
	for name, svg := range plots() {
		for _, m := range regexp.MustCompile(`class="([^"]*)"`).FindAllStringSubmatch(svg, -1) {
			for _, class := range strings.Fields(m[1]) {
				if !ruled[class] {
					t.Errorf("%s has class %s, for which there is no rule", name, class)
				}
			}
		}
	}
}

func TestPlotOfACase(t *testing.T) {
	got, tags := texts(t, plots()["case-normal-wide"])
	for _, want := range []string{
		"Baseline 73 mm, Follow-up 1 54 mm (SD), Follow-up 2 40 mm (PR), which is the nadir, Follow-up 3 50 mm (PR), waiting.",
		"Partial response at or below 51.1 mm. Progression from Follow-up 2 on at or above 48 mm.",
		"Follow-up 3 lies in both ranges, and progression takes precedence.",
		"Baseline 73 mm\n", "PR ≤ 51.1 mm\n", "PD ≥ 48 mm\n", "Nadir 40 mm\n", "+25.0 % from nadir\n",
		"week 0\n", "week 18\n", "FU 2 · PR\n", "FU 3 · PR (waits)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the plot does not say %q:\n%s", want, got)
		}
	}
	// The limit of progression steps down with each new nadir: at 87.6, 64.8 and 48 mm.
	if n := strings.Count(tags[strings.Index(tags, `class="l-pd"`):strings.Index(tags, `class="l-n"`)], "V"); n != 2 {
		t.Errorf("the limit of progression has %d steps, want 2", n)
	}
	if strings.Count(tags, `class="pt"`) != 3 || strings.Count(tags, `class="pt open"`) != 1 || strings.Count(tags, `class="line wait"`) != 1 {
		t.Error("three visits are signed and one waits, but the plot shows something else")
	}
}

// What the lines mean is written in both sizes.
func TestBothSizesNameTheLimits(t *testing.T) {
	limit := regexp.MustCompile(`(?m)^(Baseline|PR ≤|PD ≥|Nadir)[a-z, ]* [0-9.]+ mm$`)
	for name := range samples() {
		wide, _ := texts(t, plots()["case-"+name+"-wide"])
		narrow, _ := texts(t, plots()["case-"+name+"-narrow"])
		if w, n := len(limit.FindAllString(wide, -1)), len(limit.FindAllString(narrow, -1)); w != n || w == 0 && name != "non-target" {
			t.Errorf("%s: %d limits are named in the wide plot, %d in the narrow one", name, w, n)
		}
	}
}

func TestPlotOfOddCases(t *testing.T) {
	for name, want := range map[string][]string{
		"gap":           {"Follow-up 2 no complete sum (NE), waiting", "54.0\n"},
		"partial-dates": {"visits, not to scale\n", "not to scale."},
		"months":        {"week ~9\n", "week ~20\n"},
		"nadir-0":       {"PD ≥ 5 mm\n", "Nadir 0 mm\n", "nadir + 5 mm\n"},
		"one-visit":     {"Baseline 42.0 mm\n", "also the nadir\n", "PR ≤ 29.4 mm\n"},
		"lesions-500":   {"New at Follow-up 1: L100, L101, L102, L103, L104 and 395 more.", "L100 +399\n"},
		"non-target":    {"There are no target lesions", "New at Follow-up 2: N01. Non-target lesions progress at Follow-up 2.", "FU 1 · Non-CR/Non-PD\n"},
		"markers":       {"New at Follow-up 3: N01.", "N01\n", "N02\n"},
		"history":       {"PD ≥ 45.12 mm\n", "Baseline 79.9 mm"},
		"other-lesions": {"Follow-up 2 50 mm over other lesions (SD)"},
	} {
		got, _ := texts(t, plots()["case-"+name+"-wide"])
		for _, text := range want {
			if !strings.Contains(got, text) {
				t.Errorf("the plot of %s does not say %q:\n%s", name, text, got)
			}
		}
	}
}

// The nadir that a visit was compared with is taken from what recist computed, also where
// it was at a visit that is not in the record: 37.6 + 12.0 = 49.6 mm.
func TestNadirOfAVisitThatIsMissing(t *testing.T) {
	_, tags := texts(t, plots()["case-history-wide"])
	if n := strings.Count(tags[strings.Index(tags, `class="l-pd"`):strings.Index(tags, `class="l-n"`)], "V"); n != 1 {
		t.Errorf("the limit of progression has %d steps, want 1: after the nadir of 49.6 mm that of 37.6 mm", n)
	}
}

func TestNoVisitsHaveNoPlot(t *testing.T) {
	if got := chart.Plot("a", chart.Wide, nil) + chart.Spark("a", nil) + chart.Trend(nil, "T01"); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestWaterfallCountsWhatIsEvaluable(t *testing.T) {
	cases := []chart.Case{
		{Label: "1", Visits: checkedVisits(ofSums(6, []string{"", "PR", "PD", "PR"}, "100", "60", "80", "20"), waits())},
		{Label: "2", Visits: checkedVisits(ofSums(6, []string{"", "PD"}, "20", "60"), waits())},
		{Label: "3", Visits: checkedVisits(ofSums(6, []string{"", "NE"}, "20", ""), waits())},
	}
	got, _ := texts(t, string(chart.Waterfall("w", chart.Wide, cases)))
	for _, want := range []string{
		"2 of 3 evaluable\n", "from +200.0 % to −40.0 %", "−30 % or less in 1 case, and +20 % or more in 1 case", "+200.0 %\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the plot does not say %q:\n%s", want, got)
		}
	}
}

func FuzzPlot(f *testing.F) {
	f.Add("73", "54", "40", "50", "2013-10-02", "2014", "Follow-up 1", "T01", uint8(3))
	f.Add("1e18", "1e-18", "", "0", "", "0001-01-01", "\"><script>", "\u202e\x00", uint8(255))
	f.Add("0", "0", "0", "0", "9999-12-31", "0001", "", "T01/T02", uint8(0))
	f.Fuzz(func(t *testing.T, a, b, c, d, from, until, name, id string, bits uint8) {
		assessments := ofSums(6, []string{"", "SD", "PD", name}, events.Decimal(a), events.Decimal(b), events.Decimal(c), events.Decimal(d))
		assessments[0].Effective, assessments[3].Effective = from, until
		assessments[1].Name, assessments[2].Timepoint = name, int32(bits)
		assessments[1].Lesions = append(assessments[1].Lesions, newLesion(id), target(id, "Lung", events.Decimal(a)))
		assessments[2].Lesions = append(assessments[2].Lesions, newLesion(id), nonTarget(id, "Uneqv. prog."))
		visits := checkedVisits(assessments, func(id string) bool { return bits&1 != 0 && id != "7100" })
		cases := []chart.Case{{Label: name, Visits: visits}, {Label: id, Visits: visits[:bits%5]}}
		for _, size := range []chart.Size{chart.Wide, chart.Narrow} {
			for _, svg := range []any{
				chart.Plot(id, size, visits), chart.Spark(id, visits), chart.Trend(visits, id), chart.Plot(id, size, visits[:1]),
				chart.Waterfall(id, size, cases), chart.Spider(id, size, cases),
			} {
				if text := fmt.Sprint(svg); text != "" {
					if err := check(text); err != nil {
						t.Errorf("%v\n%s", err, text)
					}
				}
			}
		}
	})
}

func BenchmarkPlot(b *testing.B) {
	visits := samples()["normal"]
	b.ReportAllocs()
	for b.Loop() {
		chart.Plot("w", chart.Wide, visits)
	}
}

func BenchmarkPlotOf26Visits(b *testing.B) {
	visits := samples()["visits-26"]
	b.ReportAllocs()
	for b.Loop() {
		chart.Plot("w", chart.Wide, visits)
	}
}

// texts returns all texts of an SVG, each with a newline, and all of its markup.
func texts(t *testing.T, svg string) (text, tags string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var b, m strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return b.String(), m.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			b.WriteString(string(token) + "\n")
		case xml.StartElement:
			m.WriteString("<" + token.Name.Local)
			for _, a := range token.Attr {
				fmt.Fprintf(&m, " %s=%q", a.Name.Local, a.Value)
			}
			m.WriteString(">")
		}
	}
}

// uniqueIDs returns an error unless the document is well-formed and each id is there once.
func uniqueIDs(document string) error {
	seen := map[string]bool{}
	decoder := xml.NewDecoder(strings.NewReader(document))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok {
			for _, a := range start.Attr {
				if a.Name.Local != "id" {
					continue
				}
				if a.Value == "" || seen[a.Value] {
					return fmt.Errorf("id %q is there twice, or empty", a.Value)
				}
				seen[a.Value] = true
			}
		}
	}
}

// element is an SVG element.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// number returns the value of a coordinate, NaN if it is none, 0 if it is absent.
func (e element) number(name string) float64 {
	if e.attr(name) == "" {
		return 0
	}
	n, err := strconv.ParseFloat(e.attr(name), 64)
	if err != nil {
		return outside
	}
	return n
}

// outside is a coordinate outside of every plot.
const outside = -1e9

// rect is what a text or a shape covers.
type rect struct {
	what                     string
	left, top, right, bottom float64
}

// check returns an error unless the SVG is well-formed, has unique ids, a title and a
// description if it is an image, has all coordinates within its view box, and has no two
// texts that overlap.
func check(svg string) error {
	if err := uniqueIDs(svg); err != nil {
		return err
	}
	var e element
	if err := xml.Unmarshal([]byte(svg), &e); err != nil {
		return err
	}
	box := strings.Fields(e.attr("viewBox"))
	if len(box) != 4 {
		return fmt.Errorf("view box %q", e.attr("viewBox"))
	}
	width, _ := strconv.ParseFloat(box[2], 64)
	height, _ := strconv.ParseFloat(box[3], 64)
	if e.attr("aria-hidden") != "true" {
		named := e.attr("role") == "img" && len(e.Children) > 2 &&
			e.Children[0].XMLName.Local == "title" && e.Children[1].XMLName.Local == "desc" && strings.HasSuffix(e.Children[1].Text, ".") &&
			e.attr("aria-labelledby") == e.Children[0].attr("id")+" "+e.Children[1].attr("id")
		if !named {
			return errors.New("the image has no title and no description in sentences")
		}
	}
	var labels []rect
	for _, child := range e.Children {
		r, err := cover(child)
		if err != nil {
			return err
		}
		if r.left < -0.1 || r.top < -0.1 || r.right > width+0.1 || r.bottom > height+0.1 {
			return fmt.Errorf("%s covers %v, beyond %v x %v", r.what, r, width, height)
		}
		if child.XMLName.Local == "text" {
			labels = append(labels, r)
		}
	}
	for i, a := range labels {
		for _, b := range labels[:i] {
			if a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom {
				return fmt.Errorf("%s overlaps %s", a.what, b.what)
			}
		}
	}
	return nil
}

// cover returns what an element covers. The width of a text is estimated.
func cover(e element) (rect, error) {
	r := rect{what: e.XMLName.Local + " " + e.attr("class") + " " + e.Text}
	switch e.XMLName.Local {
	case "title", "desc":
		return r, nil
	case "text":
		size := 12.5
		classes := strings.Fields(e.attr("class"))
		switch {
		case slices.Contains(classes, "sm"), slices.Contains(classes, "lid"):
			size = 11.5
		case slices.Contains(classes, "val"):
			size = 14
		}
		w := 0.5 * size * float64(utf8.RuneCountInString(e.Text))
		r.left = e.number("x")
		switch e.attr("text-anchor") {
		case "middle":
			r.left -= w / 2
		case "end":
			r.left -= w
		}
		r.right, r.top, r.bottom = r.left+w, e.number("y")-0.72*size, e.number("y")
	case "circle":
		x, y, radius := e.number("cx"), e.number("cy"), e.number("r")
		r.left, r.right, r.top, r.bottom = x-radius, x+radius, y-radius, y+radius
	case "rect":
		r.left, r.top = e.number("x"), e.number("y")
		r.right, r.bottom = r.left+e.number("width"), r.top+e.number("height")
		if e.number("width") < 0 || e.number("height") < 0 {
			return r, fmt.Errorf("%s has a negative size", r.what)
		}
	case "path":
		return coverPath(r, e.attr("d"))
	default:
		return r, fmt.Errorf("element %s is not expected", e.XMLName.Local)
	}
	return r, nil
}

var pathCommand = regexp.MustCompile(`^([MLHVlhvmZ])(-?[0-9]+(?:\.[0-9])?)?(?: ?(-?[0-9]+(?:\.[0-9])?))?`)

// coverPath returns what a path covers.
func coverPath(r rect, d string) (rect, error) {
	var x, y float64
	for begun := false; d != ""; begun = true {
		m := pathCommand.FindStringSubmatch(d)
		if m == nil {
			return r, fmt.Errorf("path at %q", clipped(d))
		}
		d = d[len(m[0]):]
		first, _ := strconv.ParseFloat(m[2], 64)
		second, _ := strconv.ParseFloat(m[3], 64)
		switch m[1] {
		case "M", "L":
			x, y = first, second
		case "H":
			x = first
		case "V":
			y = first
		case "l", "m":
			x, y = x+first, y+second
		case "h":
			x += first
		case "v":
			y += first
		}
		if !begun {
			r.left, r.right, r.top, r.bottom = x, x, y, y
		}
		r.left, r.right, r.top, r.bottom = min(r.left, x), max(r.right, x), min(r.top, y), max(r.bottom, y)
	}
	return r, nil
}

func clipped(text string) string { return text[:min(len(text), 40)] }

// The visits of a case are drawn in the order in which recist returns them.
func TestVisitsAreByTimepoint(t *testing.T) {
	assessments := case71()
	slices.Reverse(assessments)
	var names []string
	for _, v := range checkedVisits(assessments, waits(3)) {
		names = append(names, fmt.Sprint(v.Result.Name, " ", v.Waits, " ", v.Assessment.Name == v.Result.Name))
	}
	want := []string{"Baseline false true", "Follow-up 1 false true", "Follow-up 2 false true", "Follow-up 3 true true"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
