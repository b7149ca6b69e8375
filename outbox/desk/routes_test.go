package desk_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

func trusted(t *testing.T, texts ...string) clientaddress.Proxies {
	t.Helper()
	p, err := clientaddress.Parse(texts)
	desktest.OK(t, err)
	return p
}

// allowed is who gets which status from a route. A column that does not apply is 0: nothing
// is unknown to a route that has no parameter.
type allowed struct {
	form    url.Values // that is sent with POST; the one that a PI who is granted would send
	stream  bool       // the answer does not end
	nobody  int
	granted int // a PI to whom the study is granted
	other   int // a PI to whom another study is granted
	unknown int // that PI, for a study, case or assessment that does not exist
}

// access has a row for each route of the desk. In a pattern {key}, {case} and {id} stand for
// case 71 and its last assessment.
var access = map[string]allowed{
	"GET /sign-in":   {nobody: 200, granted: 303, other: 303},
	"POST /sign-in":  {nobody: 401, granted: 401, other: 401},
	"POST /sign-out": {nobody: 303, granted: 303, other: 303},
	"POST /session":  {nobody: 303, granted: 200, other: 200},
	"GET /password":  {nobody: 200, granted: 200, other: 200},
	"POST /password": {nobody: 400, granted: 400, other: 400},
	"GET /{$}":       {nobody: 303, granted: 303, other: 303},
	"GET /waiting":   {nobody: 303, granted: 200, other: 200},

	"GET /find":          {nobody: 303, granted: 400, other: 400},
	"POST /find":         {nobody: 303, granted: 400, other: 400},
	"GET /signed":        {nobody: 303, granted: 200, other: 200},
	"GET /studies":       {nobody: 303, granted: 200, other: 200},
	"GET /studies/{key}": {nobody: 303, granted: 200, other: 404, unknown: 404},
	"GET /history":       {nobody: 303, granted: 200, other: 200},

	"GET /cases/{key}/{case}":           {nobody: 303, granted: 200, other: 404, unknown: 404},
	"POST /cases/{key}/{case}/sign-off": {nobody: 303, granted: 412, other: 404, unknown: 404}, // the form has no stamp
	"POST /cases/{key}/{case}/return":   {nobody: 303, granted: 400, other: 404, unknown: 404},
	"GET /assessments/{id}":             {nobody: 303, granted: 200, other: 404, unknown: 404},
	"POST /assessments/{id}/withdrawal": {nobody: 303, granted: 412, other: 404, unknown: 404},
	"GET /live":                         {stream: true, nobody: 401, granted: 200, other: 200}, // the query has no case: it follows how much waits
}

// Each route is asked by nobody, by a PI who is granted the study, and by one who is not. The
// latter has the same answer for what exists as for what does not.
func TestEveryRouteAnswersEachRole(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Case71(desktest.Study)...)
	key := events.StudyKey(desktest.Study)
	own := strings.NewReplacer("{$}", "", "{key}", key, "{case}", "71", "{id}", "7103")
	unknown := strings.NewReplacer("{$}", "", "{key}", events.StudyKey("NO-SUCH-STUDY"), "{case}", "71", "{id}", "9999")
	routes := make(map[string]bool)
	for _, route := range in.Desk.Routes() {
		routes[route.Pattern] = true
		want, ok := access[route.Pattern]
		if !ok {
			t.Errorf("%s is not in the table: add its row", route.Pattern)
			continue
		}
		t.Run(route.Pattern, func(t *testing.T) {
			method, path, _ := strings.Cut(route.Pattern, " ")
			ask := func(role, path string, status int, b *desktest.Browser) desktest.Page {
				p := b.Ask(method, path, want.form, want.stream)
				if p.Status != status {
					t.Errorf("%s: %d, want %d\n%s", role, p.Status, status, p.Body)
				}
				if (role == "the other PI" || p.Status == http.StatusNotFound) && strings.Contains(p.Body, "01-704-1127") {
					t.Errorf("%s sees the subject", role)
				}
				return p
			}
			ask("nobody", own.Replace(path), want.nobody, in.Browser())
			other := ask("the other PI", own.Replace(path), want.other, in.SignedIn(desktest.OtherUser))
			if want.unknown != 0 {
				p := ask("the other PI, for what does not exist", unknown.Replace(path), want.unknown, in.SignedIn(desktest.OtherUser))
				if p.Status != other.Status || p.Main() != other.Main() {
					t.Errorf("what is not granted differs from what does not exist:\n%s\n%s", other.Body, p.Body)
				}
			} else if strings.Contains(path, "{") && !strings.Contains(path, "{$}") {
				t.Error("the route has a parameter, and nothing is said about what does not exist")
			}
			ask("the PI", own.Replace(path), want.granted, in.SignedIn(desktest.User))
			if !route.Open && want.nobody != http.StatusSeeOther && !want.stream {
				t.Error("nobody is not sent to the sign-in")
			}
		})
	}
	for pattern := range access {
		if !routes[pattern] {
			t.Errorf("%s is in the table, and not served", pattern)
		}
	}
}
