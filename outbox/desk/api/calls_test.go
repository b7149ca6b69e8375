package api_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest/openapitest"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
)

// Where the assessment of a call is.
const (
	own     = "own"
	another = "another study"
	unknown = "unknown"
)

var zeros = strings.Repeat("0", 64)

// anyCall has for each route a call about an assessment of the caller's own study, of
// another one, or of none. It has the status of the first case.
type anyCall struct {
	status int
	make   func(in *installation, where string) call
}

// known returns what a PI would know of an assessment: all that is right where it is its
// own, and well-formed texts otherwise.
func (in *installation) known(where string) shown {
	switch where {
	case own:
		return in.read("dr.a", in.fresh("edc", study))
	case another:
		s := in.read("dr.other", in.fresh("elsewhere", other))
		return s
	default:
		return shown{ID: "none", Study: "NOWHERE", StudyKey: "NOWHERE", Case: 1, Stamp: zeros, Digest: zeros, etag: `"` + zeros + `"`}
	}
}

var calls = map[string]anyCall{
	"PUT /assessments/{id}": {201, func(in *installation, where string) call {
		in.cases++
		s := map[string]string{own: study, another: other, unknown: "NOWHERE"}[where]
		return in.put("", visit(s, in.cases, fmt.Sprint("put-", in.cases), 0, "50", "--", "0.0 mm", "--", "No"))
	}},
	"GET /assessments": {200, func(_ *installation, where string) call {
		s := map[string]string{own: "S%2F1", another: other, unknown: "NOWHERE"}[where]
		return call{method: "GET", path: "/assessments", target: "/assessments?study=" + s}
	}},
	"GET /assessments/{id}": {200, func(in *installation, where string) call {
		return call{method: "GET", path: "/assessments/{id}", target: "/assessments/" + in.known(where).ID}
	}},
	"POST /assessments/{id}/sign-off": {201, func(in *installation, where string) call { return in.known(where).sign("", "") }},
	"POST /assessments/{id}/withdrawal": {201, func(in *installation, where string) call {
		s := in.known(where)
		if where == own {
			in.want(s.sign("dr.a", ""), 201)
			s = in.read("dr.a", s.ID)
		}
		return s.withdraw("")
	}},
	"POST /assessments/{id}/return": {201, func(in *installation, where string) call { return in.known(where).giveBack("") }},
	"GET /cases/{key}/{case}": {200, func(in *installation, where string) call {
		s := in.known(where)
		return call{method: "GET", path: "/cases/{key}/{case}", target: fmt.Sprintf("/cases/%s/%d", s.StudyKey, s.Case)}
	}},
	"POST /cases/{key}/{case}/sign-off": {201, func(in *installation, where string) call { return in.known(where).signCase("") }},
	"GET /check": {200, func(_ *installation, where string) call {
		s := map[string]string{own: "S%2F1", another: other, unknown: "NOWHERE"}[where]
		return call{method: "GET", path: "/check", target: "/check?study=" + s}
	}},
	"GET /openapi.yaml": {200, func(*installation, string) call {
		return call{method: "GET", path: "/openapi.yaml", target: "/openapi.yaml"}
	}},
}

// Each role calls each route, about what is its own, another study's and unknown.
func TestEachRoleAndEachCall(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a", "dr.other")
	roles := map[string]api.Role{"nobody": "", "edc": api.Source, "dr.a": api.PI}
	for _, route := range in.api.Routes() {
		name := route.Method + " " + route.Path
		c, listed := calls[name]
		if !listed {
			t.Errorf("%s is not listed in calls", name)
			continue
		}
		for as, role := range roles {
			var hidden []string
			for _, where := range []string{own, another, unknown} {
				want := http.StatusNotFound
				switch {
				case len(route.Roles) == 0:
					want = http.StatusOK
				case role == "":
					want = http.StatusUnauthorized
				case !slices.Contains(route.Roles, role):
					want = http.StatusForbidden
				case where == own:
					want = c.status
				}
				q := c.make(in, where)
				q.as = as
				a := in.want(q, want)
				if want == http.StatusNotFound {
					// The answers differ in the request's id and in what the caller sent.
					text, _, _ := strings.Cut(string(a.Body), `"diagnostics"`)
					for _, part := range strings.FieldsFunc(q.target, func(r rune) bool { return strings.ContainsRune("/?=", r) }) {
						text = strings.ReplaceAll(text, part, "…")
					}
					for _, s := range []string{other, "NOWHERE"} {
						text = strings.ReplaceAll(text, s, "…")
					}
					hidden = append(hidden, text)
				}
			}
			if len(hidden) == 2 && hidden[0] != hidden[1] {
				t.Errorf("%s as %s: what is not granted is answered with\n%s\nand what is unknown with\n%s", name, as, hidden[0], hidden[1])
			}
		}
	}
	if n := len(in.api.Routes()); n != len(calls) {
		t.Errorf("%d routes, %d in calls", n, len(calls))
	}
	challenges := in.want(call{method: "GET", target: "/assessments"}, 401).Header.Values("WWW-Authenticate")
	if !slices.Equal(challenges, []string{`Basic realm="signoff", charset="UTF-8"`, `Bearer realm="signoff"`}) {
		t.Errorf("the challenges are %v", challenges)
	}
	browser := in.want(call{method: "GET", target: "/assessments", header: []string{"Sec-Fetch-Mode", "navigate"}}, 401)
	if got := browser.Header.Values("WWW-Authenticate"); !slices.Equal(got, []string{`Bearer realm="signoff"`}) {
		t.Errorf("a page gets the challenges %v", got)
	}
	q := calls["POST /assessments/{id}/sign-off"].make(in, own)
	q.as, q.header = "dr.a", append(q.header, "Sec-Fetch-Site", "cross-site")
	in.want(q, 403, "another origin")
	in.want(call{method: "GET", target: "/assessments", header: []string{"Cookie", "__Host-desk=a", "Authorization", "Digest a"}}, 401)
}

// Another source sees nothing of an assessment, and may not replace it.
func TestAnAssessmentBelongsToItsSource(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{}, "dr.a")
	id := in.fresh("edc", study)
	in.want(call{as: "second", method: "GET", path: "/assessments/{id}", target: "/assessments/" + id}, 404)
	in.want(call{as: "second", method: "GET", path: "/assessments", target: "/assessments"}, 200, `"items":[]`)
	next := visit(study, in.cases, id, 0, "51", "--", "0.0 mm", "--", "No")
	in.want(in.put("second", next), 409, "another source")
	if s := in.read("edc", id); len(s.Audit) != 0 || len(s.Versions) != 1 {
		t.Errorf("%+v", s)
	}
	if s := in.read("dr.a", id); len(s.Audit) != 1 {
		t.Errorf("%+v", s)
	}
	ok(t, in.outbox.Accounts().RevokeSource(t.Context(), "ops", "edc", study))
	in.want(in.put("edc", next), 404)
	in.want(call{as: "edc", method: "GET", path: "/assessments/{id}", target: "/assessments/" + id}, 404)
}

func TestCallersBehindAProxyHaveTheirOwnAddresses(t *testing.T) {
	t.Parallel()
	proxies, err := clientaddress.Parse([]string{"127.0.0.0/8"})
	ok(t, err)
	for name, c := range map[string]struct {
		trusted clientaddress.Proxies
		status  int // for the second caller, after five failures of the first one
	}{"of a trusted proxy": {proxies, 401}, "forged": {nil, 429}} {
		in := install(t, api.Config{TrustedProxies: c.trusted})
		in.callers["guesser"] = basic("guesser", "wrong password")
		from := func(address string) call {
			return call{as: "guesser", method: "GET", path: "/assessments", target: "/assessments", header: []string{"X-Forwarded-For", "192.0.2.1, " + address}}
		}
		for range 5 {
			in.want(from("203.0.113.1"), 401)
		}
		in.want(from("203.0.113.1"), 429)
		if a := in.send(from("203.0.113.2")); a.Status != c.status {
			t.Errorf("%s: %d, want %d", name, a.Status, c.status)
		}
	}
}

// Each status of each operation is described, and is the program's. What send checks of
// each answer against the description is not repeated here.
func TestEachStatusIsAsDescribed(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a", "dr.b", "dr.new")
	closed, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{})
	ok(t, err)
	broken, _ := serve(t, closed, api.Config{})
	ok(t, closed.Close())
	in.callers["guesser"] = basic("guesser", "wrong password")
	for range 5 {
		in.want(call{as: "guesser", method: "GET", path: "/assessments", target: "/assessments"}, 401)
	}
	in.want(call{as: "dr.new", method: "GET", path: "/assessments", target: "/assessments"}, 403, "on the page /password of this server, or with signoff pi password dr.new.")
	large := `{"reason":"` + strings.Repeat("a", 1<<20) + `"}`
	openapitest.Each(in.doc, func(path, method string, _ *openapi3.PathItem, _ *openapi3.Operation) {
		c, listed := calls[method+" "+path]
		if !listed {
			t.Errorf("%s %s is described and not in calls", method, path)
			return
		}
		if path == "/openapi.yaml" {
			in.want(c.make(in, own), 200)
			return
		}
		as := "dr.a"
		if method == http.MethodPut {
			as = "edc"
		}
		with := func(change func(*call)) call {
			q := c.make(in, own)
			q.as = as
			change(&q)
			return q
		}
		sent := func(status int, change func(*call)) { in.want(with(change), status) }
		sent(401, func(q *call) { q.as = "nobody" })
		sent(403, func(q *call) { q.as = map[string]string{"GET": "dr.new", "POST": "edc", "PUT": "dr.a"}[method] })
		sent(500, func(q *call) { q.as, q.server = "edc", broken })
		missing := c.make(in, unknown)
		missing.as = as
		in.want(missing, 404)
		sent(429, func(q *call) { q.as = "guesser" })
		if method == http.MethodGet {
			sent(400, func(q *call) { q.target = strings.Split(q.target, "?")[0] + "?bogus=1" })
			sent(200, func(*call) {})
			return
		}
		sent(400, func(q *call) { q.body = `{"bogus":1}` })
		sent(413, func(q *call) { q.body = large })
		sent(415, func(q *call) { q.header = append(q.header, "Content-Type", "text/plain") })
		sent(412, func(q *call) {
			q.header = append(q.header, "If-Match", `"`+zeros+`"`)
			if strings.Contains(q.body, `"assessments"`) {
				at := strings.Index(q.body, `"stamp":"`) + len(`"stamp":"`)
				q.body = q.body[:at] + zeros + q.body[at+64:]
			}
		})
		if method == http.MethodPost && !strings.HasPrefix(path, "/cases") {
			sent(428, func(q *call) { q.header = nil })
			sent(400, func(q *call) { q.header = []string{"If-Match", "*"} })
		}
		again := with(func(*call) {})
		in.want(again, 201)
		first := in.want(again, 200)
		if second := in.want(again, 200); string(first.Body) != string(second.Body) {
			t.Errorf("%s %s: the second answer is %s, the first %s", method, path, second.Body, first.Body)
		}
	})
	// Conflicts: what another PI has signed, withdrawn or returned, and another source's.
	signed := in.known(own)
	in.want(signed.sign("dr.a", ""), 201)
	in.want(signed.sign("dr.b", ""), 409, "dr.a")
	in.want(signed.signCase("dr.b"), 409, "dr.a")
	in.want(in.read("dr.a", signed.ID).giveBack("dr.a"), 409)
	in.want(in.known(own).withdraw("dr.a"), 409, "never signed")
	in.want(in.put("second", visit(study, in.cases, fmt.Sprint("case-", in.cases), 0, "51", "--", "0.0 mm", "--", "No")), 409)

	openapitest.Each(in.doc, func(path, method string, _ *openapi3.PathItem, o *openapi3.Operation) {
		for status := range o.Responses.Map() {
			if status == "503" { // see TestALockedOutboxIsDescribed
				continue
			}
			if _, err := strconv.Atoi(status); err != nil || !in.seen[o.OperationID+" "+status] {
				t.Errorf("%s %s: status %s is described and was not seen", method, path, status)
			}
		}
	})
}

// While another process has the outbox locked, nothing can be recorded: no delivery, and no
// password that is not remembered.
func TestALockedOutboxIsDescribed(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{}, "dr.a")
	locked, err := sql.Open("sqlite3", "file:"+in.path+"?_txlock=immediate")
	ok(t, err)
	t.Cleanup(func() { locked.Close() })
	deliver := in.put("edc", visit(study, 1, "a", 0, "50", "--", "0.0 mm", "--", "No"))
	writing, err := locked.BeginTx(t.Context(), nil)
	ok(t, err)
	for _, c := range []call{deliver, {as: "dr.a", method: "GET", path: "/assessments", target: "/assessments"}} {
		if wait := in.want(c, 503, "transient").Header.Get("Retry-After"); wait == "" {
			t.Errorf("%s %s: no Retry-After", c.method, c.target)
		}
	}
	ok(t, writing.Rollback())
	in.want(deliver, 201)
	openapitest.Each(in.doc, func(path, method string, _ *openapi3.PathItem, o *openapi3.Operation) {
		if open := len(*o.Security) == 0; o.Responses.Value("503") == nil != open {
			t.Errorf("%s %s: 503 is described: %t", method, path, open)
		}
	})
}

// The paths and methods are those of the program.
func TestEachRouteIsDescribed(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{}, "dr.a")
	described := map[string]bool{}
	openapitest.Each(in.doc, func(path, method string, _ *openapi3.PathItem, _ *openapi3.Operation) {
		described[method+" "+path] = true
	})
	for _, route := range in.api.Routes() {
		name := route.Method + " " + route.Path
		if !described[name] {
			t.Errorf("%s is not described", name)
		}
		delete(described, name)
	}
	if len(described) > 0 {
		t.Errorf("described and not served: %v", described)
	}
	for path, item := range in.doc.Paths.Map() {
		target := strings.NewReplacer("{id}", "790", "{key}", "S", "{case}", "1").Replace(path)
		a := in.want(call{method: "TRACE", target: target}, 405)
		if got, want := a.Header.Get("Allow"), strings.Join(openapitest.Methods(item), ", "); got != want {
			t.Errorf("%s: Allow %q, described are %q", path, got, want)
		}
		in.want(call{method: "GET", target: target + "/x/y/z"}, 404)
	}
	in.want(call{method: "GET", target: "/"}, 404)
	for _, target := range []string{"/assessments/../check", "//assessments", "/./assessments", "/assessments//790", "/../../waiting"} {
		in.want(call{as: "dr.a", method: "GET", target: target}, 404, "OperationOutcome")
	}
	in.want(call{as: "dr.a", method: "GET", target: "/assessments/%2e%2e"}, 404, "there is no assessment ..")
	in.want(call{as: "dr.a", method: "GET", target: "/assessments/"}, 200)
	in.want(call{as: "dr.a", method: "HEAD", target: "/assessments"}, 200)
	if events.StudyKey(study) == study {
		t.Errorf("the study of the tests has the key %s", study)
	}
}

// What an assessment was in another study, before it was moved, is that study's.
func TestAMovedAssessmentShowsNothingOfItsFormerStudy(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{}, "dr.a")
	acc := in.outbox.Accounts()
	ok(t, acc.GrantSource(t.Context(), "ops", "edc", other))
	in.want(in.put("edc", visit(other, 8, "moved", 0, "50", "--", "0.0 mm", "--", "No")), 201)
	next := visit(study, 9, "moved", 0, "51", "--", "0.0 mm", "--", "No")
	next.Revision = 2
	in.want(in.put("edc", next), 200)
	get := call{as: "dr.a", method: "GET", path: "/assessments/{id}", target: "/assessments/moved"}
	if a := in.want(get, 200, "subject-9"); strings.Contains(string(a.Body), "subject-8") || strings.Contains(string(a.Body), other) {
		t.Errorf("%s", a.Body)
	}
	ok(t, acc.GrantPI(t.Context(), "ops", "dr.a", other))
	in.want(get, 200, "subject-8", "assessment.moved")
}

// Where an assessment was moved to is a matter of that study, for whoever is granted the
// former one only. It is read after another move, back to the former study.
func TestAMovedAssessmentShowsNothingOfTheStudyThatItWasMovedTo(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{}, "dr.a")
	acc := in.outbox.Accounts()
	ok(t, acc.GrantSource(t.Context(), "ops", "edc", other))
	in.want(in.put("edc", visit(study, 9, "moved", 0, "50", "--", "0.0 mm", "--", "No")), 201)
	for i, a := range []events.Assessment{
		visit(study, 10, "moved", 0, "51", "--", "0.0 mm", "--", "No"),
		visit(other, 8765, "moved", 0, "52", "--", "0.0 mm", "--", "No"),
		visit(study, 9, "moved", 0, "53", "--", "0.0 mm", "--", "No"),
	} {
		a.Revision = int32(i + 2)
		in.want(in.put("edc", a), 200)
	}
	get := call{as: "dr.a", method: "GET", path: "/assessments/{id}", target: "/assessments/moved"}
	a := in.want(get, 200, `"detail":{"from":9,"study":"S/1","to":10}`, `"detail":{"from":10}`)
	if text := string(a.Body); strings.Contains(text, other) || strings.Contains(text, `"to":8765`) || strings.Contains(text, "subject-8765") {
		t.Errorf("%s", text)
	}
	ok(t, acc.GrantPI(t.Context(), "ops", "dr.a", other))
	in.want(get, 200, `"detail":{"from":10,"study":"OTHER","to":8765}`)
}

// A PI may name a case of any study. Others who read the audit trail do not learn which.
func TestARefusalNamesNoOtherStudy(t *testing.T) {
	t.Parallel()
	in := install(t, api.Config{Signing: true}, "dr.a", "dr.b")
	ok(t, in.outbox.Accounts().GrantPI(t.Context(), "ops", "dr.a", other))
	id := in.fresh("edc", study)
	c := in.read("dr.a", id).signCase("dr.a")
	c.target = "/cases/" + events.StudyKey(other) + "/77/sign-off"
	in.want(c, 404)
	get := call{as: "dr.b", method: "GET", path: "/assessments/{id}", target: "/assessments/" + id}
	if a := in.want(get, 200, "assessment.sign-refused"); strings.Contains(string(a.Body), events.StudyKey(other)) {
		t.Errorf("%s", a.Body)
	}
}
