package desk_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	nethtml "golang.org/x/net/html"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// hostile is a text with markup, a template, a quote, Hebrew letters. Characters
// that change the direction are refused at registration; a search may have them.
const (
	hostile   = "<script>alert(1)</script>\"'>{{.}}\u05d0\u05d1"
	direction = "\u202eX\u2066"
)

// mostPages bounds how many pages of a list a test reads.
const mostPages = 20

// third is the id of a study whose assessments have hostile texts.
const third = "T<b>&3"

// followed returns the visits of a case with one target, whose record agrees with RECIST 1.1
// unless conclusions are changed. Ids are the case number followed by 00, 01 …
func followed(study string, number int32, subject string, values ...float64) []events.Assessment {
	text := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	change := func(v float64) string {
		if v > 0 {
			return "+" + text(v) + " mm"
		}
		return text(v) + " mm"
	}
	var out []events.Assessment
	nadir := values[0]
	for n, v := range values {
		a := desktest.Agreeing(study, number, subject)[0]
		a.ID, a.Timepoint = fmt.Sprintf("%d%02d", number, n), int32(n)
		a.Effective = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 42*n).Format(time.DateOnly)
		a.Lesions[0].Value, a.Measurement.Value = events.Decimal(text(v)), events.Decimal(text(v))
		if n > 0 {
			m := a.Measurement
			m.ChangeFromPrevious, m.ChangeFromBaseline, m.ChangeFromNadir = change(v-values[n-1]), change(v-values[0]), change(v-nadir)
			a.Name, a.Conclusion = events.FollowUp(n), "Stable Disease"
			switch {
			case v >= 1.2*nadir && v-nadir >= 5:
				a.Conclusion = "Progressive Disease"
			case v <= 0.7*values[0]:
				a.Conclusion = "Partial Response"
			}
		}
		nadir = min(nadir, v)
		out = append(out, a)
	}
	return out
}

// installQueue opens an installation in which cases of each kind wait, in three studies.
func installQueue(t testing.TB) (*desktest.Installation, *desktest.Clock) {
	t.Helper()
	clock := desktest.NewClock()
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	for _, study := range []string{"FHIR-T", third} {
		desktest.OK(t, in.Outbox.Accounts().GrantPI(t.Context(), "ops", desktest.User, study))
	}
	in.Register(desktest.Case71(desktest.Study)...)
	in.Sign("7100", "7101", "7102")
	clock.Add(24 * time.Hour)

	missing := followed(desktest.Study, 61, "01-704-1008", 54, 50)
	missing[1].Measurement, missing[1].Lesions[0].State, missing[1].Lesions[0].Value, missing[1].Lesions[0].Unit = nil, "Not evaluable", "", ""
	in.Register(missing...)
	in.Sign("6100")
	clock.Add(48 * time.Hour)

	moved := followed("FHIR-T", 163, "10081007", 79.9, 49.6, 37.6)
	for i := range moved {
		moved[i].Case.Revision = 5
	}
	in.Register(moved...)
	clock.Add(24 * time.Hour)

	earlier := followed(desktest.Study, 23, "01-701-1239", 71, 47, 49, 57, 34)
	earlier[4].Conclusion = "Partial Response"
	in.Register(earlier...)
	in.Sign("2300", "2301", "2302", "2303")
	clock.Add(24 * time.Hour)

	changed := followed("FHIR-T", 11, "1001", 53.5, 41.5, 30.5)
	in.Register(changed...)
	in.Sign("1100", "1101", "1102")
	changed = followed("FHIR-T", 11, "1001", 53.5, 42, 30.5)
	changed[1].Revision = 2
	in.Register(changed[1])
	clock.Add(22 * time.Hour)

	in.Register(followed("FHIR-T", 12, "1002", 55, 56.5, 72.5)...)

	bad := followed(third, 1, hostile, 50, 48)
	for i := range bad {
		bad[i].Lesions[0].ID, bad[i].Lesions[0].Organ, bad[i].Lesions[0].SeriesDescription = hostile, hostile, hostile
		bad[i].SponsorStudy, bad[i].TrialName = hostile, hostile
	}
	in.Register(bad...)
	in.Sign("100")
	bad[0].Revision, bad[0].Subject = 2, hostile
	bad[0].Lesions[0].ID = hostile + "2"
	bad[0].Lesions[0].Label = "Long axis"
	in.Register(bad[0])

	left := followed(desktest.Study, 40, "01-709-1001", 60, 61)
	in.Register(left...)
	left[0].Case.Revision = 2
	in.Sign("4000", "4001")
	left[0].Revision = 2
	late := left[1]
	late.Revision = 2
	late.Lesions = slices.Clone(late.Lesions)
	late.Lesions[0].Label = "Long axis"
	in.Register(late)
	in.Register(left[0])
	in.Sign("4000") // the case moves on, without the follow-up
	clock.Add(26 * time.Hour)
	return in, clock
}

var tags = regexp.MustCompile(`(?s)<svg.*?</svg>|<[^>]*>`)

// text returns the text of a piece of HTML, with single spaces.
func text(markup string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tags.ReplaceAllString(markup, " "))), " ")
}

// rowsOf returns the texts of the rows of the first table of a page.
func rowsOf(t testing.TB, p desktest.Page) (rows []string) {
	t.Helper()
	if p.Status != http.StatusOK {
		t.Fatalf("%d\n%s", p.Status, p.Body)
	}
	_, body, _ := strings.Cut(p.Body, "<tbody>")
	body, _, _ = strings.Cut(body, "</tbody>")
	for _, row := range strings.Split(body, "<tr>")[1:] {
		rows = append(rows, text(row))
	}
	return rows
}

// link returns where the link with this text leads to, or "".
func link(p desktest.Page, label string) string {
	found := regexp.MustCompile(`<a [^>]*href="([^"]*)"[^>]*>(?:<bdi>)?` + regexp.QuoteMeta(label) + `(?:</bdi>)?</a>`).FindStringSubmatch(p.Body)
	if found == nil {
		return ""
	}
	return html.UnescapeString(found[1])
}

// checkPage checks that a page is well-formed in the respects that browsers and screen readers
// need, and that it has no text from outside as markup.
func checkPage(t testing.TB, p desktest.Page) {
	t.Helper()
	root, err := nethtml.Parse(strings.NewReader(p.Body))
	desktest.OK(t, err)
	checkNesting(t, p.Body)
	ids, labels := map[string]int{}, map[string]bool{}
	level := 0
	var controls []string
	for n := range root.Descendants() {
		if n.Type == nethtml.TextNode && strings.ContainsAny(n.Data, "\u202e\u2066") {
			t.Errorf("%q changes its direction", n.Data)
		}
		if n.Type != nethtml.ElementNode {
			continue
		}
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
			}
		}
		if id, ok := attributes["id"]; ok {
			ids[id]++
		}
		switch n.Data {
		case "script":
			if attributes["src"] == "" {
				t.Error("there is a script in the page")
			}
		case "label":
			labels[attributes["for"]] = true
		case "input", "select", "textarea":
			if attributes["type"] != "hidden" {
				controls = append(controls, attributes["id"])
			}
		case "h1", "h2", "h3":
			next := int(n.Data[1] - '0')
			if next > level+1 && level > 0 { // the summary of a problem is before all others
				t.Errorf("heading %d follows heading %d", next, level)
			}
			level = next
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %q is there %d times", id, n)
		}
	}
	for _, id := range controls {
		if !labels[id] {
			t.Errorf("the field %q has no label", id)
		}
	}
	for _, raw := range []string{"<script>alert", "T<b>"} {
		if strings.Contains(p.Body, raw) {
			t.Errorf("the page has %q", raw)
		}
	}
}

// void elements have no end.
var void = []string{"meta", "link", "input", "br", "img", "hr", "path", "rect", "circle", "line"}

// checkNesting checks that each element ends where it began. A parser of HTML mends what does
// not.
func checkNesting(t testing.TB, body string) {
	t.Helper()
	var open []string
	for z := nethtml.NewTokenizer(strings.NewReader(body)); ; {
		switch z.Next() {
		case nethtml.ErrorToken:
			if len(open) > 0 {
				t.Errorf("%q do not end", open)
			}
			return
		case nethtml.StartTagToken:
			if name, _ := z.TagName(); !slices.Contains(void, string(name)) {
				open = append(open, string(name))
			}
		case nethtml.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Errorf("</%s> stands in %q", name, open)
				return
			}
			open = open[:len(open)-1]
		}
	}
}

func TestCasesThatWait(t *testing.T) {
	t.Parallel()
	in, _ := installQueue(t)
	b := in.SignedIn(desktest.User)
	p := b.Get("/waiting")
	checkPage(t, p)
	want := []string{
		"01-704-1127 CDISC/PILOT01 · case 71 Follow-up 3 New visit 50 mm +10.0 mm from nadir PR ▲ RECIST 1.1 gives PD 7 days",
		"01-704-1008 CDISC/PILOT01 · case 61 Follow-up 1 New visit no sum T01 not evaluable SD ▲ RECIST 1.1 gives NE 6 days",
		"10081007 FHIR-T · case 163 Baseline, Follow-up 1, Follow-up 2 Case revision 5; nothing signed yet 37.6 mm −12.0 mm from nadir PR ✓ Agrees 4 days",
		"01-701-1239 CDISC/PILOT01 · case 23 Follow-up 4 New visit 34.0 mm −13.0 mm from nadir PR ● Your judgement: PD earlier, at Follow-up 3 3 days",
		"1001 FHIR-T · case 11 Follow-up 1 Revision 2: T01 41.5 → 42.0 mm; sum 41.5 → 42.0 mm; change from previous −12.0 mm → −11.5 mm, from baseline −12.0 mm → −11.5 mm, from nadir −12.0 mm → −11.5 mm 42.0 mm −11.5 mm from nadir SD ✓ Agrees 2 days",
		"1002 FHIR-T · case 12 Baseline, Follow-up 1, Follow-up 2 Nothing signed yet 72.5 mm +17.5 mm from nadir PD ✓ Agrees 26 hours",
		hostile + " T<b>&3 · case 1 Baseline, Follow-up 1 Baseline: Revision 2: " + hostile + "2 added: Target, " + hostile + ", 50.0 mm, Present; " + hostile + " removed: Target, " + hostile + ", 50.0 mm, Present New: Follow-up 1 48.0 mm −2.0 mm from nadir SD ▲ RECIST 1.1 gives NE 26 hours",
		"01-709-1001 CDISC/PILOT01 · case 40 Follow-up 1 cannot be signed: it is registered for case revision 1, and the case has moved on to revision 2 61.0 mm +1.0 mm from nadir SD Not checked, because it cannot be signed 26 hours",
	}
	if diff := cmp.Diff(want, rowsOf(t, p)); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{
		"13 assessments of 8 cases in 3 studies · the oldest for 7 days · 3 contradict RECIST 1.1",
		"Oldest first · 1–8 of 8 cases",
		`<span class="soft" id="nav-waiting" data-live>8</span>`,
	} {
		if !strings.Contains(p.Body, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if href := link(p, "01-704-1127"); href != "/cases/"+events.StudyKey(desktest.Study)+"/71" {
		t.Errorf("the first case is at %q", href)
	}
	t.Run("of one study", func(t *testing.T) {
		p := b.Get("/waiting?study=FHIR-T")
		checkPage(t, p)
		if rows := rowsOf(t, p); len(rows) != 3 || !strings.Contains(p.Body, "7 assessments of 3 cases · the oldest for 4 days · none contradicts RECIST 1.1") {
			t.Errorf("%q\n%s", rows, p.Body)
		}
		if !strings.Contains(p.Body, `<option value="FHIR-T" selected>`) || !strings.Contains(p.Body, `data-live>8</span>`) {
			t.Error("the study is not chosen, or the navigation counts one study")
		}
	})
	t.Run("contradictions only", func(t *testing.T) {
		p := b.Get("/waiting?show=contradictions")
		checkPage(t, p)
		if rows := rowsOf(t, p); len(rows) != 3 || !strings.Contains(p.Body, "Oldest first · 3 cases with contradictions among cases 1–8 of 8") {
			t.Errorf("%q", rows)
		}
		if p := b.Get("/waiting?show=contradictions&study=FHIR-T"); !strings.Contains(p.Body, "Nothing that waits contradicts RECIST 1.1.") {
			t.Errorf("none of them: %s", p.Body)
		}
	})
	t.Run("what is not granted is not there", func(t *testing.T) {
		one, other := b.Get("/waiting?study=OTHER-01"), b.Get("/waiting?study=NONE")
		if one.Status != http.StatusNotFound || text(one.Body) != text(other.Body) {
			t.Errorf("%d and %d", one.Status, other.Status)
		}
	})
	t.Run("parameters that are none", func(t *testing.T) {
		for _, query := range []string{"show=some", "after=x", "after=-1", "after=1e3"} {
			if p := b.Get("/waiting?" + query); p.Status != http.StatusBadRequest {
				t.Errorf("%s: %d", query, p.Status)
			}
		}
	})
	t.Run("behind the last case", func(t *testing.T) {
		for path, part := range map[string]string{
			"/waiting?after=999999": "Nothing more waits.", "/waiting?after=999999&show=contradictions": "Nothing that waits from here on contradicts RECIST 1.1.",
			"/signed?after=1": "There is nothing more.", "/history?after=1": "There is nothing more.", "/history?study=FHIR-T&after=1": "There is nothing more.",
		} {
			p := b.Get(path)
			checkPage(t, p)
			first, _, _ := strings.Cut(path, "?")
			if !strings.Contains(p.Body, part) || !strings.HasPrefix(link(p, "First page"), first) {
				t.Errorf("%s: %s", path, text(p.Body))
			}
		}
	})
	t.Run("nothing waits", func(t *testing.T) {
		p := in.SignedIn(desktest.OtherUser).Get("/waiting")
		checkPage(t, p)
		if !strings.Contains(p.Body, "Nothing waits for you.") || !strings.Contains(p.Body, `data-live>0</span>`) || strings.Contains(p.Body, "<table") {
			t.Errorf("%s", p.Body)
		}
	})
	t.Run("nothing is granted any more", func(t *testing.T) {
		in, _ := installQueue(t)
		b := in.SignedIn(desktest.User)
		for _, study := range []string{desktest.Study, "FHIR-T", third} {
			desktest.OK(t, in.Outbox.Accounts().RevokePI(t.Context(), "ops", desktest.User, study))
		}
		if p := b.Get("/waiting"); p.Status != http.StatusOK || !strings.Contains(p.Body, "Nothing waits for you.") {
			t.Errorf("%d %s", p.Status, p.Body)
		}
	})
}

// Cases are signed and registered between the pages.
func TestPagesOfWhatWaitsLeaveOutNoCase(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	contradicting := map[int]bool{3: true, 60: true, 61: true, 119: true}
	var all []events.Assessment
	for n := int32(1); n <= 120; n++ {
		visits := followed(desktest.Study, n, fmt.Sprintf("S-%03d", n), 50, 30)
		if contradicting[int(n)] {
			visits[1].Conclusion = "Progressive Disease"
		}
		all = append(all, visits...)
	}
	in.Register(all...)
	b := in.SignedIn(desktest.User)
	read := func(path string, between func()) (subjects []string, pages int) {
		for path != "" && pages < mostPages {
			p := b.Get(path)
			for _, row := range rowsOf(t, p) {
				subject, _, _ := strings.Cut(row, " ")
				subjects = append(subjects, subject)
			}
			between()
			path, pages = link(p, "Next page"), pages+1
		}
		return subjects, pages
	}
	signed := 0
	got, pages := read("/waiting", func() {
		signed += 2 // one that was on the page, one that is on the next
		in.Sign(fmt.Sprintf("%d00", signed), fmt.Sprintf("%d01", signed))
		in.Register(followed(desktest.Study, int32(200+signed), fmt.Sprintf("S-%03d", 200+signed), 50, 30)...)
	})
	var want []string
	for n := 1; n <= 120; n++ {
		want = append(want, fmt.Sprintf("S-%03d", n))
	}
	want = append(want, "S-202", "S-204")
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Errorf("%d pages; %s", pages, diff)
	}
	if p := b.Get("/waiting"); !strings.Contains(p.Body, "4 contradict RECIST 1.1") || !strings.Contains(p.Body, "1–50 of 120 cases") {
		t.Errorf("%s", text(p.Body))
	}
	if p := b.Get(link(b.Get("/waiting"), "Next page")); !strings.Contains(p.Body, "51–100 of 120 cases") || link(p, "First page") != "/waiting" {
		t.Errorf("%s", text(p.Body))
	}
	got, pages = read("/waiting?show=contradictions", func() {})
	if diff := cmp.Diff([]string{"S-003", "S-060", "S-061", "S-119"}, got); diff != "" || pages != 1 {
		t.Errorf("%d pages; %s", pages, diff)
	}
}

// Where much waits, contradictions are not counted, a search for them takes several requests,
// and a study is not plotted.
func TestAVeryLongQueue(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	const cases = 2001
	var all []events.Assessment
	for n := int32(1); n <= cases; n++ {
		a := followed(desktest.Study, n, fmt.Sprintf("S-%04d", n), 50)[0]
		if n == 1 || n == 1400 {
			a.Measurement.Value = "51"
		}
		if all = append(all, a); len(all) == 667 {
			in.Register(all...)
			all = nil
		}
	}
	b := in.SignedIn(desktest.User)
	p := b.Get("/waiting")
	if strings.Contains(text(p.Body), "contradict RECIST") || !strings.Contains(p.Body, "1–50 of 2001 cases") || strings.Contains(text(p.Body), "none contradicts") {
		t.Errorf("%s", text(p.Body))
	}
	var found []string
	requests := 0
	for path := "/waiting?show=contradictions"; path != "" && requests < mostPages; requests++ {
		p := b.Get(path)
		checkPage(t, p)
		for _, row := range rowsOf(t, p) {
			found = append(found, row[:6])
		}
		if empty := len(rowsOf(t, p)) == 0; empty != strings.Contains(p.Body, "No contradiction up to here.") && link(p, "Search on") != "" {
			t.Errorf("%s", text(p.Body))
		}
		path = link(p, "Search on")
	}
	if diff := cmp.Diff([]string{"S-0001", "S-1400"}, found); diff != "" || requests != 5 {
		t.Errorf("%d requests; %s", requests, diff)
	}
	p = b.Get("/studies/" + events.StudyKey(desktest.Study))
	checkPage(t, p)
	if !strings.Contains(p.Body, "too many cases to be plotted") || strings.Contains(p.Body, "waterfall") {
		t.Errorf("%s", text(p.Body))
	}
}

func TestASearchForASubject(t *testing.T) {
	t.Parallel()
	in, _ := installQueue(t)
	in.Register(followed(desktest.Other, 5, "elsewhere", 50)...)
	in.Register(followed("FHIR-T", 90, "twice", 50)...)
	in.Register(followed(desktest.Study, 91, "twice", 50)...)
	b := in.SignedIn(desktest.User)
	find := func(subject string) desktest.Page {
		p := b.Post("/find", url.Values{"subject": {subject}})
		again := b.Get("/find?" + url.Values{"subject": {subject}}.Encode())
		if p.Status != again.Status || p.Location() != again.Location() {
			t.Errorf("%q: %d to %q as a form, %d to %q as an address", subject, p.Status, p.Location(), again.Status, again.Location())
		}
		if strings.Contains(p.Location(), "01-704") {
			t.Errorf("the address %s has the subject", p.Location())
		}
		return p
	}
	if p := find(" 01-704-1127 "); p.Status != http.StatusSeeOther || p.Location() != "/cases/"+events.StudyKey(desktest.Study)+"/71" {
		t.Errorf("one case: %d to %q", p.Status, p.Location())
	}
	p := find("twice")
	checkPage(t, p)
	if diff := cmp.Diff([]string{"twice CDISC/PILOT01 case 91", "twice FHIR-T case 90"}, rowsOf(t, p)); diff != "" {
		t.Error(diff)
	}
	for _, subject := range []string{"elsewhere", "nobody", hostile + direction} {
		p := find(subject)
		checkPage(t, p)
		if p.Status != http.StatusOK || !strings.Contains(p.Body, "is in your studies") {
			t.Errorf("%q: %d", subject, p.Status)
		}
	}
	p = find("  ")
	checkPage(t, p)
	if p.Status != http.StatusBadRequest || !strings.Contains(p.Body, "<title>Error: ") || !strings.Contains(p.Body, `<a href="#subject">`) {
		t.Errorf("no subject: %d\n%s", p.Status, p.Body)
	}
}
