package overview_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/overview"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

var update = flag.Bool("update", false, "write the golden files anew")

var at = time.Date(2026, 11, 29, 14, 32, 7, 0, time.UTC)

func before(d time.Duration) time.Time { return at.Add(-d) }

// fullest returns facts with every part and every state of a part.
func fullest() overview.Facts {
	none, two := 0, 2
	f := overview.Facts{
		At: at, Started: before(6 * 24 * time.Hour), Recorded: 18406, Published: 18403, Applied: 18400,
		Outbox: overview.OutboxFacts{
			Assessments: 912, Available: 870, Unpublished: 3, Oldest: before(41 * time.Minute),
			Waiting: 37, WaitingStudies: 5, OldestWaiting: before(7 * 24 * time.Hour),
		},
		Publisher: overview.PublisherFacts{State: publisher.Running, Since: before(time.Hour), Reason: "try again", StreamSequence: 18403, LastEvent: before(6 * time.Second)},
		ReadModel: overview.ReadModelFacts{State: readmodel.Waiting, Reason: "the stream cannot be read", CaughtUp: true, Behind: 3, Heard: before(4 * time.Second)},
		Findings:  []overview.Finding{{Name: "tokenKey", Text: "the key is retired", Blocks: true}, {Name: "clock", Text: "the clock is wrong"}},
		Parked: []overview.Parked{
			{Study: "LUNG-7", Since: before(41 * time.Minute), FirstEvent: 918, Reason: "event 918 of study LUNG-7 has 1310944 bytes; raise the broker's limit and release the study", Command: "signoff release LUNG-7"},
			{Study: "Study 8", Since: before(50 * time.Hour), FirstEvent: 2, Reason: "too large", ReleaseRequested: true, Command: "signoff release x-1"},
		},
		Partners: []overview.Partner{
			{Partner: "acme", Study: "CDISCPILOT01", Last: 1774, Delivered: 1774, Acknowledged: 1774, Connections: &two},
			{Partner: "borealis", Study: "CDISCPILOT01", Last: 1774, Delivered: 1774, Acknowledged: 1773, Behind: 1, Since: before(time.Second)},
			{Partner: "novagen", Study: "DEMO-01", Last: 640, Delivered: 431, Acknowledged: 428, Behind: 212, Since: before(190 * time.Minute), Connections: &none},
			{Partner: "polled-cro", Study: "CDISCPILOT01", Last: 1774, Behind: 1774, Since: before(time.Hour), Connections: &none},
		},
		Recent: []overview.Event{
			{Time: before(6 * time.Second), Study: "CDISCPILOT01", Number: 1774, Kind: events.ReportSigned},
			{Time: before(7 * time.Second), Study: "FHIR-T", Number: 12, Kind: events.ReportWithdrawn, StreamSequence: 18401},
			{Time: before(8 * time.Second), Study: "_access", Number: 3, Kind: events.AccessPartner, StreamSequence: 18400},
			{Time: before(15 * time.Hour), Study: "FHIR-T", Number: 10, Kind: events.ReportSigned, StreamSequence: 18398},
		},
		Incidents: []overview.Incident{
			{Time: before(41 * time.Minute), Text: "LUNG-7 parked by the publisher"},
			{Time: before(100 * time.Hour), Text: "access token key rotated"},
			{Time: before(160 * time.Hour), Text: "clock accepted"},
		},
	}
	f.Summarize()
	return f
}

// emptiest returns facts of a server that has just started and has nothing.
func emptiest() overview.Facts {
	f := overview.Facts{At: at, Started: at}
	f.Summarize()
	return f
}

// unread returns facts of a server of which only publisher and read model could be read.
func unread() overview.Facts {
	f := overview.Facts{
		At: at, Started: before(time.Hour), Applied: 18400, Publisher: overview.PublisherFacts{State: publisher.Running, StreamSequence: 18400},
		ReadModel: overview.ReadModelFacts{State: readmodel.Green, CaughtUp: true}, Unread: []string{"outbox", "recent events", "partners", "incidents"},
	}
	for _, part := range f.Unread {
		f.Findings = append(f.Findings, overview.Finding{Name: part, Text: "cannot be read: disk I/O error", Blocks: part == "outbox"})
	}
	f.Summarize()
	return f
}

// hostile returns facts with markup, template actions and a change of direction in each text.
func hostile() overview.Facts {
	const text = "\"><script>alert(1)</script><img src=x onerror=alert(1) style=\"color:red\">{{.At}}'\u202Egnp"
	f := fullest()
	f.Publisher.Reason, f.ReadModel.Reason = text, text
	for i := range f.Findings {
		f.Findings[i].Name, f.Findings[i].Text = text, text
	}
	for i := range f.Parked {
		f.Parked[i].Study, f.Parked[i].Reason, f.Parked[i].Command = text, text, text
	}
	for i := range f.Partners {
		f.Partners[i].Partner, f.Partners[i].Study = text, text
	}
	for i := range f.Recent {
		f.Recent[i].Study, f.Recent[i].Kind = text, text
	}
	for i := range f.Incidents {
		f.Incidents[i].Text = text
	}
	f.Summarize()
	return f
}

func pages() map[string]overview.Facts {
	return map[string]overview.Facts{"fullest": fullest(), "emptiest": emptiest(), "unread": unread(), "hostile": hostile()}
}

func written(t *testing.T, f overview.Facts) string {
	t.Helper()
	var b bytes.Buffer
	if err := f.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
	}
}

// hashes are in the paths of assets, which change with each change of style or script.
var hashes = regexp.MustCompile(`/[0-9a-f]{16}/`)

func TestThePageIsAsItWas(t *testing.T) {
	golden(t, "fullest.html", hashes.ReplaceAllString(written(t, fullest()), "/HASH/"))
	golden(t, "emptiest.html", hashes.ReplaceAllString(written(t, emptiest()), "/HASH/"))
}

// What could not be read is not shown as if there were none.
func TestWhatCannotBeReadIsNotKnown(t *testing.T) {
	text := written(t, unread())
	for _, untrue := range []string{"All published", "0 reports", "recorded <b>0", "published <b>0", "nothing is to be signed", "No partner", "Nothing was signed", "None."} {
		if strings.Contains(text, untrue) {
			t.Errorf("the page contains %q", untrue)
		}
	}
	if n := strings.Count(strings.ToLower(text), "not known"); n != 8 { // 3 tiles, 2 numbers, 3 lists
		t.Errorf("%d parts are not known, want 8", n)
	}
	f := emptiest()
	f.Unread = []string{"outbox"} // and with it whether there are events before the recent ones
	if text := written(t, f); strings.Contains(text, "Nothing was signed yet") || !strings.Contains(text, "Nothing was signed lately") {
		t.Error("the page tells that nothing was ever signed")
	}
}

func TestTheFactsAsJSONAreAsTheyWere(t *testing.T) {
	text, err := json.MarshalIndent(fullest(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "fullest.json", string(text)+"\n")
}

func TestThePageIsValidAndHasNothingInline(t *testing.T) {
	for name, facts := range pages() {
		t.Run(name, func(t *testing.T) { checkDocument(t, written(t, facts)) })
	}
}

// voids have no end tag.
var voids = map[string]bool{"meta": true, "link": true, "img": true, "br": true, "input": true}

// checkDocument fails the test if tags are not closed in order, an id is there twice or is
// missing, or there is an inline script or style, which the page's policy forbids.
func checkDocument(t *testing.T, text string) {
	t.Helper()
	ids, wanted := make(map[string]bool), make(map[string]bool)
	var open []string
	for z := html.NewTokenizer(strings.NewReader(text)); ; {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			if len(open) != 0 {
				t.Errorf("not closed: %v", open)
			}
			for id := range wanted {
				if !ids[id] {
					t.Errorf("nothing has the id %s", id)
				}
			}
			return
		case html.EndTagToken:
			name := z.Token().Data
			if len(open) == 0 || open[len(open)-1] != name {
				t.Fatalf("</%s> closes %v", name, open)
			}
			open = open[:len(open)-1]
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			if kind == html.StartTagToken && !voids[token.Data] {
				open = append(open, token.Data)
			}
			if token.Data == "style" || token.Data == "script" && !strings.HasPrefix(attribute(token, "src"), "/assets/") {
				t.Errorf("inline: %s", token)
			}
			checkAttributes(t, token, ids, wanted)
		}
	}
}

func checkAttributes(t *testing.T, token html.Token, ids, wanted map[string]bool) {
	t.Helper()
	for _, a := range token.Attr {
		switch {
		case a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Val, "javascript:"):
			t.Errorf("inline: %s", token)
		case a.Key == "id" && ids[a.Val]:
			t.Errorf("the id %s is there twice", a.Val)
		case a.Key == "id":
			ids[a.Val] = true
		case a.Key == "aria-labelledby":
			wanted[a.Val] = true
		case (a.Key == "href" || a.Key == "src") && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#"):
			t.Errorf("leads elsewhere: %s", token)
		case a.Key == "data-live" && attribute(token, "id") == "":
			t.Errorf("cannot be replaced without an id: %s", token)
		}
	}
}

func attribute(token html.Token, key string) string {
	for _, a := range token.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func TestHostileTextIsShownAsText(t *testing.T) {
	text := written(t, hostile())
	for _, forbidden := range []string{"<script>", "<img", "\u202E"} {
		if strings.Contains(text, forbidden) {
			t.Errorf("the page contains %q", forbidden)
		}
	}
	for _, wanted := range []string{"{{.At}}", "U&#43;202Egnp", "&lt;script&gt;alert(1)"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page does not contain %q", wanted)
		}
	}
}

func TestTheSentenceNamesTheWorst(t *testing.T) {
	good := func() overview.Facts {
		return overview.Facts{
			At: at, Started: before(time.Hour), Publisher: overview.PublisherFacts{State: publisher.Running},
			ReadModel: overview.ReadModelFacts{State: readmodel.Green, CaughtUp: true},
		}
	}
	late := overview.Partner{Partner: "acme", Study: "S", Last: 9, Delivered: 8, Acknowledged: 2, Behind: 7, Since: before(2 * time.Minute)}
	for _, c := range []struct {
		name   string
		change func(*overview.Facts)
		state  overview.State
		want   string
	}{
		{"nothing", func(*overview.Facts) {}, overview.OK, "All is published and applied"},
		{"an event that is not published yet", func(f *overview.Facts) {
			f.Recorded, f.Published, f.Outbox.Unpublished, f.Outbox.Oldest = 2, 1, 1, before(time.Second)
		}, overview.OK, "Events are on their way"},
		{"an event that is not applied yet", func(f *overview.Facts) { f.ReadModel.Behind = 1 }, overview.OK, "Events are on their way"},
		{"the outbox cannot be read", func(f *overview.Facts) { *f = unread() }, overview.Bad, "The server is not ready"},
		{"a partner is behind", func(f *overview.Facts) { f.Partners = []overview.Partner{late} }, overview.Warn, "One partner is behind"},
		{"a partner that only polls", func(f *overview.Facts) {
			polls := late
			polls.Delivered, polls.Acknowledged = 0, 0
			f.Partners = []overview.Partner{polls}
		}, overview.OK, "All is published and applied"},
		{"a notice", func(f *overview.Facts) { f.Findings = []overview.Finding{{Name: "clock"}} }, overview.Warn, "Sign-offs are published; something needs attention"},
		{"a check", func(f *overview.Facts) { f.Findings = []overview.Finding{{Name: "doors", Blocks: true}} }, overview.Bad, "The server is not ready"},
		{"NATS is away", func(f *overview.Facts) { f.Publisher.State = publisher.BackingOff }, overview.Warn, "Signed reports are not being published"},
		{"a parked study", func(f *overview.Facts) {
			f.Parked, f.Outbox.Unpublished = []overview.Parked{{Study: "S"}}, 1
			f.Partners = []overview.Partner{late}
		}, overview.Bad, "One study is parked"},
		{"the publisher", func(f *overview.Facts) {
			f.Publisher.State, f.Parked = publisher.Stopped, []overview.Parked{{Study: "S"}}
		}, overview.Bad, "The publisher has stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := good()
			c.change(&f)
			f.Summarize()
			if f.State != c.state || f.Sentence != c.want {
				t.Errorf("%s: %s", f.State, f.Sentence)
			}
		})
	}
}
