package desk_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
)

var (
	update = flag.Bool("update", false, "write the golden files anew")

	key = events.StudyKey(desktest.Study)
)

// pathOf returns the path of a case of the study.
func pathOf(number int32) string { return fmt.Sprintf("/cases/%s/%d", key, number) }

// mainOf returns what a page has beside its frame and the form, without what changes with
// each test run or with other parts of the desk.
func mainOf(body string) string {
	_, body, _ = strings.Cut(body, `<main id="main">`)
	body, _, _ = strings.Cut(body, `</main>`)
	body = regexp.MustCompile(`(?s)<aside class="sign".*?</aside>`).ReplaceAllString(body, "")
	body = regexp.MustCompile(`(?s)(<svg[^>]*>).*?</svg>`).ReplaceAllString(body, "$1</svg>")
	return strings.TrimSpace(regexp.MustCompile(`\n\s*\n`).ReplaceAllString(body, "\n")) + "\n"
}

// golden compares what a page has with a file.
func golden(t *testing.T, name string, p desktest.Page) {
	t.Helper()
	file := filepath.Join("testdata", name+".html")
	got := mainOf(p.Body)
	if *update {
		desktest.OK(t, os.MkdirAll("testdata", 0o750))
		desktest.OK(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	desktest.OK(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s: %s", file, diff)
	}
}

// wellFormed fails the test unless the elements of a page are closed in order, its ids are
// unique, and what refers to an id refers to one that is there. It returns the elements.
func wellFormed(t *testing.T, p desktest.Page) []*html.Node {
	t.Helper()
	open := []string{}
	void := []string{"meta", "link", "input", "br"}
	for z := html.NewTokenizer(strings.NewReader(p.Body)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		name, _ := z.TagName()
		switch tag := string(name); {
		case kind == html.StartTagToken && !slices.Contains(void, tag):
			open = append(open, tag)
		case kind == html.EndTagToken && (len(open) == 0 || open[len(open)-1] != tag):
			t.Fatalf("</%s> closes %v", tag, open)
		case kind == html.EndTagToken:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %v", open)
	}
	document, err := html.Parse(strings.NewReader(p.Body))
	desktest.OK(t, err)
	var elements []*html.Node
	ids := map[string]int{}
	for n := range document.Descendants() {
		if n.Type == html.ElementNode {
			elements = append(elements, n)
			ids[attribute(n, "id")]++
		}
	}
	heading := 0
	for _, n := range elements {
		if id := attribute(n, "id"); id != "" && ids[id] > 1 {
			t.Errorf("%d elements have the id %s", ids[id], id)
		}
		for _, name := range []string{"aria-labelledby", "aria-describedby"} {
			for id := range strings.FieldsSeq(attribute(n, name)) {
				if ids[id] == 0 {
					t.Errorf("%s refers to %s, which is not there", name, id)
				}
			}
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
			}
			if a.Key == "data-live" && attribute(n, "id") == "" {
				t.Errorf("<%s> is live and has no id", n.Data)
			}
		}
		if len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
			if level := int(n.Data[1] - '0'); level > heading+1 && heading > 0 {
				t.Errorf("h%d follows h%d", level, heading)
			}
			heading = int(n.Data[1] - '0')
		}
		if n.Data == "script" && attribute(n, "src") == "" {
			t.Error("there is a script in the page")
		}
		if n.Data == "th" && attribute(n, "scope") == "" {
			t.Error("a heading of a table has no scope")
		}
		if n.Data == "table" && n.FirstChild.NextSibling == nil {
			t.Error("a table has no caption")
		}
	}
	return elements
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// get returns a page that must be well-formed.
func get(t *testing.T, b *desktest.Browser, path string, status int) desktest.Page {
	t.Helper()
	p := b.Get(path)
	if p.Status != status {
		t.Fatalf("%s: %d\n%s", path, p.Status, p.Body)
	}
	wellFormed(t, p)
	return p
}

// contains fails the test unless a page has the texts.
func contains(t *testing.T, p desktest.Page, texts ...string) {
	t.Helper()
	body := mainOf(p.Body)
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%q is not on the page:\n%s", text, body)
		}
	}
}

// install opens an installation with a clock that stands.
func install(t testing.TB) (*desktest.Installation, *desktest.Clock) {
	clock := desktest.NewClock()
	return desktest.Install(t, desk.Config{Clock: clock.Now}), clock
}

// case71 returns the visits of Case71 with another case number, and ids that begin with it.
func case71(number int32) []events.Assessment {
	visits := desktest.Case71(desktest.Study)
	for i := range visits {
		visits[i].ID, visits[i].Case.ID = fmt.Sprintf("%d%02d", number, i), number
	}
	return visits
}

func TestPagesOfTheSamples(t *testing.T) {
	in, _ := install(t)
	for _, s := range desktest.Samples() {
		in.Register(s.Assessments...)
		var ids []string
		for _, a := range s.Assessments[:s.Sign] {
			ids = append(ids, a.ID)
		}
		if ids != nil {
			in.Sign(ids...)
		}
	}
	b := in.SignedIn(desktest.User)
	for _, s := range desktest.Samples() {
		t.Run(s.Name, func(t *testing.T) {
			p := get(t, b, pathOf(s.Case), http.StatusOK)
			if dir := os.Getenv("SIGNOFF_PAGES"); dir != "" {
				save(t, b, filepath.Join(dir, s.Name+".html"), p)
			}
			if s.Name != "lesions-500" && s.Name != "visits-26" {
				golden(t, "case-"+s.Name, p)
			}
			for _, text := range []string{"alert(1)</script>", "alert(2)</script>", "{{.}}</textarea>"} {
				if strings.Contains(p.Body, text) {
					t.Errorf("%s is on the page as markup", text)
				}
			}
		})
	}
}

// save writes a page to a file that a browser shows without the desk.
func save(t *testing.T, b *desktest.Browser, file string, p desktest.Page) {
	t.Helper()
	link := regexp.MustCompile(`<link rel="stylesheet" href="([^"]*)">`)
	style := b.Get(link.FindStringSubmatch(p.Body)[1]).Body
	desktest.OK(t, os.WriteFile(file, []byte(link.ReplaceAllLiteralString(p.Body, "<style>"+style+"</style>")), 0o600))
}

func TestPagesOfTheStatesOfACase(t *testing.T) {
	in, clock := install(t)
	b := in.SignedIn(desktest.User)
	for _, partner := range []string{"acme", "globex", "initech"} {
		_, err := in.Outbox.Accounts().AddPartner(t.Context(), "ops", partner, partner, []string{desktest.Study})
		desktest.OK(t, err)
	}
	show := func(t *testing.T, name, path string) desktest.Page {
		t.Helper()
		p := get(t, b, path, http.StatusOK)
		if dir := os.Getenv("SIGNOFF_PAGES"); dir != "" {
			save(t, b, filepath.Join(dir, name+".html"), p)
		}
		golden(t, name, p)
		return p
	}

	in.Register(case71(1)...)
	in.Register(case71(2)...)
	t.Run("the earliest visit that waits is to be signed", func(t *testing.T) {
		p := show(t, "case-waits", pathOf(1))
		contains(t, p, "The sum of Baseline is that of its target lesions", "Case 1 of 2", `<a href="`+pathOf(2)+`" rel="next">Next</a>`,
			`<a href="`+pathOf(1)+`?sign=103">Follow-up 3</a> (waits) contradicts RECIST 1.1`, "What partners will receive of Baseline")
		if strings.Contains(p.Body, `rel="prev"`) {
			t.Error("the first case has a previous one")
		}
		contains(t, get(t, b, pathOf(2), http.StatusOK), "Case 2 of 2", `<a href="`+pathOf(1)+`" rel="prev">Previous</a>`)
	})
	t.Run("the visits that are asked for are to be signed", func(t *testing.T) {
		contains(t, get(t, b, pathOf(1)+"?sign=103", http.StatusOK), "Follow-up 3 is recorded as", "What partners will receive of Follow-up 3")
		p := show(t, "case-all", pathOf(1)+"?sign=all")
		contains(t, p, "Baseline, Follow-up 1 <abbr", " agree with RECIST 1.1", "Follow-up 3 is recorded as", `aria-current="true">All</a>`)
		contains(t, get(t, b, pathOf(1)+"?sign=101&sign=102", http.StatusOK), "What partners will receive of Follow-up 1", "What partners will receive of Follow-up 2")
		contains(t, get(t, b, pathOf(1)+"?sign=%22%3E%3Cscript%3E", http.StatusOK), "A visit that you asked for cannot be signed now", "What partners will receive of Baseline")
	})
	in.Sign("100", "101", "102")
	t.Run("what is signed is not published at once", func(t *testing.T) {
		contains(t, get(t, b, pathOf(1), http.StatusOK), "not published yet")
	})
	published(t, in, "acme", "globex")
	t.Run("partners have received what is signed", func(t *testing.T) {
		p := show(t, "case-received", pathOf(1))
		contains(t, p, "2 of 3 partners", "Dr. Ana Rivera", "2026-02-14 10:06 UTC", "“I have reviewed and approve this assessment.”",
			`initech</span> <span class="soft">not delivered`, "History: 4 versions, 3 signatures, 7 audit lines", `href="/assessments/102"`)
	})
	in.Sign("103")
	published(t, in, "acme", "globex", "initech")
	t.Run("everything is signed", func(t *testing.T) {
		p := show(t, "case-signed", pathOf(1))
		contains(t, p, "Nothing of this case waits for you", "3 of 3 partners", "What partners received of Follow-up 3", "1 case waits", `rel="next">First</a>`)
		if strings.Contains(p.Body, "You may sign it") {
			t.Error("a visit that is signed is offered")
		}
	})
	t.Run("a later version waits", func(t *testing.T) {
		clock.Add(10 * time.Minute)
		again := case71(1)[3]
		again.Revision, again.Conclusion, again.Lesions[0].Value, again.Measurement.Value = 2, "Progressive Disease", "6", "51"
		again.Measurement.ChangeFromPrevious, again.Measurement.ChangeFromBaseline, again.Measurement.ChangeFromNadir = "+11.0 mm", "-22.0 mm", "+11.0 mm"
		in.Register(again)
		contains(t, show(t, "case-revision", pathOf(1)), "was 5</div>", "was Partial Response", "Revision 1 was signed:", "Follow-up 3 agrees with RECIST 1.1")
	})
	t.Run("a visit was withdrawn", func(t *testing.T) {
		_, err := in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: desktest.User, ID: "102", Meaning: "I withdraw this assessment.", Reason: `wrong "scan"`})
		desktest.OK(t, err)
		contains(t, show(t, "case-withdrawn", pathOf(1)), "Withdrawn, and not counted", "“I withdraw this assessment.”", "“wrong &#34;scan&#34;”", "not computed")
	})
	t.Run("the case has moved on", func(t *testing.T) {
		visits := case71(3)[:2]
		in.Register(visits...)
		next := case71(3)[0]
		next.Case.Revision = 2
		in.Register(next)
		in.Sign("300")
		p := show(t, "case-moved", pathOf(3))
		contains(t, p, "Nothing of this case can be signed, until the source registers it again",
			"it is registered for case revision 1, and the case has moved on to revision 2.", "moved on")
		if strings.Contains(p.Body, "What partners will receive of Follow-up 1") {
			t.Error("a visit that has moved on is offered")
		}
	})
	t.Run("a visit waits for another subject", func(t *testing.T) {
		visits := case71(4)[:2]
		visits[1].Subject = "02-000-0001"
		in.Register(visits[0])
		in.Register(visits[1])
		contains(t, show(t, "case-subject", pathOf(4)), "it is registered for subject 01-704-1127, and the case is of subject 02-000-0001.", "What partners will receive of Follow-up 1")
	})
	t.Run("a visit was returned", func(t *testing.T) {
		_, err := in.Outbox.Return(t.Context(), outbox.Return{User: desktest.User, ID: "401", Reason: "wrong subject"})
		desktest.OK(t, err)
		_, err = in.Outbox.Return(t.Context(), outbox.Return{User: desktest.User, ID: "400", Reason: "wrong subject"})
		desktest.OK(t, err)
		contains(t, show(t, "case-empty", pathOf(4)), "No visit counts, so there is nothing to check", "No visit of this case is stored", `href="/assessments/400"`, "Nothing of this case waits for you")
	})
	t.Run("versions were signed before", func(t *testing.T) {
		again := case71(1)[2]
		again.Revision = 2
		in.Register(again)
		in.Sign("102", "103")
		p := show(t, "case-earlier", pathOf(1))
		screen, paper, _ := strings.Cut(p.Body, `<section class="paper"`)
		_, screen, _ = strings.Cut(screen, "Earlier signatures")
		for _, want := range []string{
			"<td>case revision 1, revision 1</td><td>Dr. Ana Rivera <span class=\"soft\">(rivera)</span></td><td class=\"nowrap\">2026-02-14 10:06 UTC</td><td>“I have reviewed and approve this assessment.”",
			"Withdrawn</b> by Dr. Ana Rivera <span class=\"soft\">(rivera)</span>, 2026-02-14 10:16 UTC, “I withdraw this assessment.”, because “wrong &#34;scan&#34;”",
		} {
			if !strings.Contains(screen, want) {
				t.Errorf("the earlier signatures lack %q:\n%s", want, screen)
			}
		}
		for _, want := range []string{
			"<b>Follow-up 2</b> (102), an earlier version: signed by Dr. Ana Rivera (rivera), 2026-02-14 10:06", "<b>Follow-up 3</b> (103), an earlier version: signed by Dr. Ana Rivera (rivera), 2026-02-14 10:06",
			"case revision 1, revision 1, event", "case revision 1, revision 2, event", "“I withdraw this assessment.”, because “wrong &#34;scan&#34;”.",
		} {
			if !strings.Contains(paper, want) {
				t.Errorf("the paper lacks %q:\n%s", want, paper)
			}
		}
		if n := strings.Count(paper, "signed by "); n != 6 {
			t.Errorf("%d signatures on paper, want 6", n)
		}
	})
}

// published records that everything pending was published, and that the partners have
// acknowledged it.
func published(t *testing.T, in *desktest.Installation, partners ...string) {
	t.Helper()
	source := in.Outbox.Source()
	pending, err := source.Pending(t.Context(), 1000)
	desktest.OK(t, err)
	head, err := source.Head(t.Context())
	desktest.OK(t, err)
	last := head.StreamSequence
	for i := range pending {
		pending[i].StreamSequence = last + uint64(i) + 1
	}
	desktest.OK(t, source.Record(t.Context(), pending))
	last += uint64(len(pending))
	var receipts []events.Receipt
	for _, partner := range partners {
		receipts = append(receipts, events.Receipt{Partner: partner, Study: key, Delivered: last, Acknowledged: last})
	}
	desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), receipts))
}

func TestACaseThatChangedSaysWhatChanged(t *testing.T) {
	in, _ := install(t)
	in.Desk.ServeChanged("GET /changed/{key}/{case}")
	in.Register(case71(1)...)
	b := in.SignedIn(desktest.User)
	seen := ""
	for _, n := range wellFormed(t, get(t, b, pathOf(1), http.StatusOK)) {
		if n.Data == "input" && attribute(n, "name") == "seen" {
			seen = attribute(n, "value")
			if attribute(n, "form") != "sign-form" {
				t.Error("what the page showed is not sent with the form")
			}
		}
	}
	in.Sign("100")
	again := case71(1)[3]
	again.Lesions[0].Value, again.Conclusion = "5.5", "Progressive Disease"
	again.Measurement.Value = "50.5"
	in.Register(again)
	moved := case71(1)[2]
	moved.Case.ID, moved.Subject = 2, "another"
	in.Register(moved)
	form := url.Values{"stamp": {"x"}, "sign": {"103"}, "seen": {seen}}
	p := get(t, b, "/changed/"+key+"/1?"+form.Encode(), http.StatusPreconditionFailed)
	golden(t, "case-changed", p)
	contains(t, p, "What changed while you looked", "<b>Baseline</b>: signed meanwhile", "<b>Follow-up 3</b>: registered again meanwhile",
		"Assessment 102 is no longer in this case.", "was 5</div>", "was Partial Response", "was 50</div>", "What partners will receive of Follow-up 3")
	if got := strings.Count(p.Body, `changed">`); got != 3 {
		t.Errorf("%d cells are marked", got)
	}
	for _, malformed := range []string{"", "x:y:z:w", `"><script>`} {
		form.Set("seen", malformed)
		contains(t, get(t, b, "/changed/"+key+"/1?"+form.Encode(), http.StatusPreconditionFailed), "Everything below is as it is now")
	}
}

func TestMarkupInSignaturesIsText(t *testing.T) {
	in, _ := install(t)
	const study = `S"><script>alert(3)</script>`
	desktest.OK(t, accountstest.AddPI(t.Context(), in.Outbox.Accounts(), "ops", "hostile", desktest.Hostile, []string{study}, desktest.Password))
	visits := desktest.Case71(study)[:2]
	in.Register(visits...)
	_, err := in.Outbox.SignOff(t.Context(), outbox.SignOff{User: "hostile", Meaning: desktest.Hostile, IDs: []string{"7100", "7101"}})
	desktest.OK(t, err)
	_, err = in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: "hostile", ID: "7101", Meaning: desktest.Hostile, Reason: desktest.Hostile})
	desktest.OK(t, err)
	p := get(t, in.SignedIn("hostile"), "/cases/"+events.StudyKey(study)+"/71", http.StatusOK)
	// In the cells and on paper: two signatures of sign-offs and one of a withdrawal, each with
	// name and meaning, and its reason; and the note about the withdrawal. The name is in the
	// frame, too.
	if got := strings.Count(html.UnescapeString(p.Body), page.Visible(desktest.Hostile)); got < 2*(2*3+1)+2 {
		t.Errorf("the text is there %d times:\n%s", got, p.Body)
	}
	for _, text := range []string{"<script>alert", desktest.Hostile} {
		if strings.Contains(p.Body, text) {
			t.Errorf("%s is on the page as markup", text)
		}
	}
}

func TestCasesThatAreNotGrantedAreNotFound(t *testing.T) {
	in, _ := install(t)
	in.Register(case71(1)...)
	other := desktest.Case71(desktest.Other)
	in.Register(other...)
	b := in.SignedIn(desktest.User)
	missing := b.Get(pathOf(99))
	if missing.Status != http.StatusNotFound {
		t.Fatalf("%d\n%s", missing.Status, missing.Body)
	}
	for _, path := range []string{
		"/cases/" + events.StudyKey(desktest.Other) + "/71", "/cases/unknown/71", "/cases/" + key + "/0", "/cases/" + key + "/01", "/cases/" + key + "/-1",
		"/cases/" + key + "/99999999999", "/cases/" + key + "/x", "/cases/" + url.PathEscape(desktest.Study) + "/1", pathOf(99) + "?sign=all",
	} {
		p := b.Get(path)
		if p.Status != http.StatusNotFound || p.Body != missing.Body {
			t.Errorf("%s: %d, and not the page of what does not exist\n%s", path, p.Status, p.Body)
		}
	}
	if p := in.SignedIn(desktest.OtherUser).Get(pathOf(1)); p.Status != http.StatusNotFound || strings.Contains(p.Body, "01-704") {
		t.Errorf("another PI: %d\n%s", p.Status, p.Body)
	}
	if p := in.Browser().Get(pathOf(1)); p.Status != http.StatusSeeOther {
		t.Errorf("without a session: %d", p.Status)
	}
}
