package trail_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/trail"
)

// assessed is the content of a version.
const assessed = `{"id":"7103","study":"A","case":{"id":71,"revision":2},"revision":1,"name":"Follow-up 3"}`

var reader = outbox.Reader{User: "rivera", Studies: []string{"A"}}

func TestSentences(t *testing.T) {
	for _, c := range []struct {
		entry outbox.AuditEntry
		want  string
	}{
		{outbox.AuditEntry{Action: "assessment.registered", Actor: "tumor-db"}, "tumor-db registered Follow-up 3 of case 71"},
		{outbox.AuditEntry{Action: "assessment.replaced", Actor: "tumor-db"}, "tumor-db replaced the version of Follow-up 3 of case 71 that waited"},
		{outbox.AuditEntry{Action: "assessment.moved", Actor: "tumor-db", Study: "A", Detail: json.RawMessage(`{"from":71,"study":"A","to":72}`)}, "tumor-db moved assessment 7103 from case 71 to case 72"},
		{outbox.AuditEntry{Action: "assessment.moved", Actor: "tumor-db", Study: "A", Detail: json.RawMessage(`{"from":71,"study":"SECRET","to":72}`)}, "tumor-db moved assessment 7103 from case 71 to another study"},
		{outbox.AuditEntry{Action: "case.rebound", Actor: "tumor-db", Detail: json.RawMessage(`{"case":71,"from":"S1","to":"S2"}`)}, "tumor-db changed the subject of case 71 from S1 to S2"},
		{outbox.AuditEntry{Action: "assessment.signed", Actor: "rivera", Detail: json.RawMessage(`{"sequence":12}`)}, "You signed Follow-up 3 of case 71, event 12"},
		{outbox.AuditEntry{Action: "assessment.signed", Actor: "okafor", Detail: json.RawMessage(`{"sequence":12,"reason":"seen twice"}`)}, "okafor signed Follow-up 3 of case 71, event 12, over a contradiction: seen twice"},
		{outbox.AuditEntry{Action: "report.superseded", Actor: "rivera", Detail: json.RawMessage(`{"sequence":13}`)}, "The report of Follow-up 3 of case 71 was superseded when you signed a higher revision of the case, event 13"},
		{outbox.AuditEntry{Action: "report.withdrawn", Actor: "rivera", Detail: json.RawMessage(`{"sequence":14,"reason":"wrong scan"}`)}, "You withdrew Follow-up 3 of case 71, event 14: wrong scan"},
		{outbox.AuditEntry{Action: "assessment.sign-refused", Actor: "okafor", Detail: json.RawMessage(`{"message":"no"}`)}, "A sign-off by okafor was refused: no"},
		{outbox.AuditEntry{Action: "assessment.sign-refused", Actor: "okafor", Detail: json.RawMessage(`{"message":"SECRET","assessments":["1","2"]}`)}, "A sign-off by okafor was refused"},
		{outbox.AuditEntry{Action: "pi.added", Actor: "ops", Subject: "okafor"}, "ops added the PI okafor"},
		{outbox.AuditEntry{Action: "pi.granted", Actor: "ops", Subject: "rivera"}, "ops granted the study to you"},
		{outbox.AuditEntry{Action: "session.ended", Actor: "rivera", Subject: "rivera", Detail: json.RawMessage(`{"reason":"replaced"}`)}, "Your session ended, because you signed in again"},
		{outbox.AuditEntry{Action: "sign-in.failures", Subject: "rivera", Detail: json.RawMessage(`{"kind":"user","count":40}`)}, "40 sign-ins with your name failed in a quarter of an hour"},
		{outbox.AuditEntry{Action: "new.action", Actor: "ops", Subject: "x"}, "ops: new.action of x"},
	} {
		if c.entry.Subject == "" {
			c.entry.Subject, c.entry.Assessment = "7103", json.RawMessage(assessed)
		}
		if got := trail.Describe(c.entry, reader).Text; got != c.want {
			t.Errorf("%s: %q, want %q", c.entry.Action, got, c.want)
		}
	}
}

// Every action that may be in a PI's trail has a sentence of its own, also without details.
func TestEveryActionHasASentence(t *testing.T) {
	others := []string{ // about no study, and no PI
		"partner.rotated", "partner.removed", "source.rotated", "source.removed", "key.announced", "key.retired", "key.revoked", "key.rotation-requested",
	}
	seen := 0
	for _, action := range append(actionsIn(t, "../.."), actionsIn(t, "../../accounts")...) {
		if slices.Contains(others, action) {
			continue
		}
		seen++
		line := trail.Describe(outbox.AuditEntry{Action: action, Subject: "x"}, reader)
		if strings.Contains(line.Text, action) || strings.HasSuffix(line.Text, ": ") || strings.Contains(line.Text, "…") {
			t.Errorf("%s: %q", action, line.Text)
		}
	}
	if seen < 25 {
		t.Errorf("only %d actions were found", seen)
	}
}

// actionsIn returns the values of the constants action… of the package in a folder.
func actionsIn(t *testing.T, dir string) (actions []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		p, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(p, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "action") {
				return true
			}
			if value, ok := spec.Values[0].(*ast.BasicLit); ok {
				action, err := strconv.Unquote(value.Value)
				if err == nil && strings.Contains(action, ".") {
					actions = append(actions, action)
				}
			}
			return true
		})
	}
	return actions
}

// What stands in the details and is not listed is not shown.
func TestDetailsOfALine(t *testing.T) {
	entry := outbox.AuditEntry{
		Action: "pi.added", Actor: "ops", Subject: "okafor", Account: "root", Host: "server", Process: 7, Address: "192.0.2.1", Hash: "ab",
		Detail: json.RawMessage(`{"name":"Dr. Okafor","studies":["B","A"],"secret":"SECRET","digest":1e3,"findings":["one","two",3,{"x":1}]}`),
	}
	want := []trail.Detail{
		{Name: "Action", Value: "pi.added"}, {Name: "By", Value: "ops"}, {Name: "About", Value: "okafor"}, {Name: "Findings shown", Value: "one; two"},
		{Name: "Content, SHA-256", Value: "1e3"}, {Name: "Printed name", Value: "Dr. Okafor"}, {Name: "Studies", Value: "A"}, {Name: "Hash of the line", Value: "ab"},
	}
	line := trail.Describe(entry, reader)
	if diff := cmp.Diff(want, line.Details); diff != "" || line.Study != "A" {
		t.Errorf("study %q; %s", line.Study, diff)
	}
	entry.Actor = "rivera"
	if details := trail.Describe(entry, reader).Details; !slices.Contains(details, trail.Detail{Name: "Address", Value: "192.0.2.1"}) {
		t.Errorf("one's own line has no address: %v", details)
	}
	for _, detail := range []string{"", "[]", "null", "{", `"text"`} {
		entry.Detail = json.RawMessage(detail)
		trail.Describe(entry, reader)
	}
}
