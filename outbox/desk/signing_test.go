package desk_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/html"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

const (
	reason = "Bladder wall thickening is post-radiation; not read as growth."
)

// pathOfCase returns the path of a case of desktest.Study.
func pathOfCase(number string) string {
	return "/cases/" + events.StudyKey(desktest.Study) + "/" + number
}

// form returns the fields of the form of a page that is sent to the action, as a browser
// sends them if nothing is typed.
func form(t *testing.T, p desktest.Page, action string) url.Values {
	t.Helper()
	root, err := html.Parse(strings.NewReader(p.Body))
	desktest.OK(t, err)
	for n := range root.Descendants() {
		if n.Data == "form" && attributeOf(n, "action") == action {
			return fields(n)
		}
	}
	t.Fatalf("the page has no form that is sent to %s: %d\n%s", action, p.Status, p.Body)
	return nil
}

func fields(form *html.Node) url.Values {
	values := url.Values{}
	for n := range form.Descendants() {
		name, kind := attributeOf(n, "name"), attributeOf(n, "type")
		switch {
		case n.Type != html.ElementNode || name == "":
		case n.Data == "textarea":
			text := ""
			if n.FirstChild != nil {
				text = n.FirstChild.Data
			}
			values.Add(name, text)
		case n.Data == "input" && (kind != "checkbox" && kind != "radio" || slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "checked" })):
			values.Add(name, attributeOf(n, "value"))
		}
	}
	return values
}

func attributeOf(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// with returns a copy of the form in which fields, name after name with their values, are
// typed.
func with(form url.Values, typed ...string) url.Values {
	out := url.Values{}
	for name, values := range form {
		out[name] = values
	}
	for i := 0; i < len(typed); i += 2 {
		out.Set(typed[i], typed[i+1])
	}
	return out
}

// want fails the test unless the page has the status and the texts.
func want(t *testing.T, p desktest.Page, status int, texts ...string) desktest.Page {
	t.Helper()
	if p.Status != status {
		t.Errorf("answered %d, want %d, to %q\n%s", p.Status, status, p.Location(), p.Body)
	}
	for _, text := range texts {
		if !strings.Contains(p.Body, text) {
			t.Errorf("the page does not have %q:\n%s", text, p.Body)
		}
	}
	if strings.Contains(p.Body, desktest.Password) {
		t.Errorf("the page has a password:\n%s", p.Body)
	}
	return p
}

func lacks(t *testing.T, p desktest.Page, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(p.Body, text) {
			t.Errorf("the page has %q:\n%s", text, p.Body)
		}
	}
}

// audited returns the details of the lines with the action, about anything.
func audited(t *testing.T, in *desktest.Installation, action string) (details []string) {
	t.Helper()
	desktest.OK(t, in.Outbox.Audit(t.Context(), outbox.AuditFilter{Action: action}, func(e outbox.AuditEntry) error {
		details = append(details, e.Actor+" "+e.Subject+" "+e.Address+" "+string(e.Detail))
		return nil
	}))
	return details
}

// waiting returns how many versions wait.
func waiting(t *testing.T, in *desktest.Installation) int {
	t.Helper()
	s, err := in.Outbox.Status(t.Context())
	desktest.OK(t, err)
	return s.Waiting
}

func TestACaseIsSigned(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	_, err := in.Outbox.Accounts().AddPartner(t.Context(), "ops", "acme", "ACME", []string{desktest.Study})
	desktest.OK(t, err)
	in.Register(desktest.Case71(desktest.Study)...)
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	in.Sign("7100", "7101", "7102")
	in.Publish(0)
	b, path := in.SignedIn(desktest.User), pathOfCase("71")
	page := want(t, b.Get(path), 200, "Sign Follow-up 3", "to 1 partner at once", "registered by <b>tumor-db</b>", "Both, because this is the first signature")
	f := form(t, page, path+"/sign-off")
	if f.Get("meaning") != "" || f.Get("sign") != "7103" {
		t.Errorf("the form is filled with %v", f)
	}
	complete := with(f, "meaning", desktest.Meaning, "reason.7103", " "+reason+"\r\n", "user", desktest.User, "password", desktest.Password)

	t.Run("not without what it needs", func(t *testing.T) {
		p := want(t, b.Post(path+"/sign-off", f), 400, "<title>Error: ", `href="#reason-7103"`, `href="#sign-meaning"`, `href="#sign-user"`, `href="#sign-password"`)
		if waiting(t, in) != 3 || len(audited(t, in, "assessment.sign-refused")) != 0 {
			t.Error("an incomplete form has done something")
		}
		for _, id := range []string{"reason-7103", "sign-meaning", "sign-user", "sign-password"} {
			if !strings.Contains(p.Body, `id="`+id+`"`) {
				t.Errorf("nothing has the id %s", id)
			}
		}
		want(t, b.Post(path+"/sign-off", with(complete, "reason.7103", " \n")), 400, "stands as recorded", desktest.Meaning+`" checked`, `value="rivera"`)
		want(t, b.Post(path+"/sign-off", with(complete, "reason.7103", strings.Repeat("x", 201))), 400, `href="#reason-7103"`)
		want(t, b.Post(path+"/sign-off", with(complete, "meaning", "own", "own", strings.Repeat("y", 201))), 400, `href="#sign-meaning"`, strings.Repeat("y", 201))
	})
	t.Run("not with a wrong password, and what was typed is kept", func(t *testing.T) {
		p := want(t, b.Post(path+"/sign-off", with(complete, "password", "not the password")), 403, "The password is wrong", "Nothing was signed", reason, `value="rivera"`, `href="#sign-password"`)
		lacks(t, p, "not the password")
	})
	t.Run("not with the name of another, whose password is right", func(t *testing.T) {
		p := want(t, b.Post(path+"/sign-off", with(complete, "user", desktest.OtherUser)), 403, "not your user name", `href="#sign-user"`, reason)
		lacks(t, p, "The password is wrong")
		refused := audited(t, in, "assessment.sign-refused")
		if len(refused) != 1 || !strings.HasPrefix(refused[0], "rivera 7103 127.0.0.1 ") || strings.Contains(refused[0], desktest.OtherUser) {
			t.Errorf("audited %v", refused)
		}
	})
	if waiting(t, in) != 3 {
		t.Fatal("a refused form has signed something")
	}

	signed := want(t, b.Post(path+"/sign-off", complete, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), 303)
	receipt := signed.Location()
	if !strings.HasPrefix(receipt, path+"?signed=") {
		t.Fatalf("redirected to %q", receipt)
	}
	t.Run("the receipt", func(t *testing.T) {
		p := want(t, b.Get(receipt), 200, "Follow-up 3 is signed, not published yet", "Your signature", "Dr. Ana Rivera", "(rivera)", desktest.Meaning, reason,
			`title="Partial Response"`, `title="Progressive Disease"`, "assessment <a", "case revision 1, revision 1", "Not published yet", "Next case that waits: 01-704-1008")
		lacks(t, p, "is signed and published")
		last := in.Publish(0)
		p = want(t, b.Get(receipt), 200, "Follow-up 3 is signed and published", "Not delivered by subscription; HTTP reads are not recorded here")
		lacks(t, p, "not published yet")
		key := events.StudyKey(desktest.Study)
		desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{{Partner: "acme", Study: key, Delivered: last}}))
		want(t, b.Get(receipt), 200, "Delivered, not acknowledged yet")
		desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{{Partner: "acme", Study: key, Delivered: last, Acknowledged: last}}))
		want(t, b.Get(receipt), 200, "✓ Acknowledged")
	})
	t.Run("again with the same receipt", func(t *testing.T) {
		if p := want(t, b.Post(path+"/sign-off", complete), 303); p.Location() != receipt {
			t.Errorf("redirected to %q, not %q", p.Location(), receipt)
		}
		if n := len(audited(t, in, "assessment.signed")); n != 4 {
			t.Errorf("%d lines of signatures", n)
		}
	})
	t.Run("in the audit trail", func(t *testing.T) {
		lines := audited(t, in, "assessment.signed")
		var detail struct {
			Reason, Channel, Meaning string
			Findings                 []string
		}
		_, text, _ := strings.Cut(lines[3], "127.0.0.1 ")
		desktest.OK(t, json.Unmarshal([]byte(text), &detail))
		if detail.Channel != "desk" || detail.Reason != reason || len(detail.Findings) == 0 || detail.Meaning != desktest.Meaning {
			t.Errorf("audited %s", lines[3])
		}
	})
	t.Run("the next one with the password alone", func(t *testing.T) {
		path := pathOfCase("5")
		page := want(t, b.Get(path+"?sign=all"), 200, "Visits of case revision 1 to sign")
		lacks(t, page, "Your user name", "contradicts RECIST 1.1")
		f := form(t, page, path+"/sign-off")
		if !slices.Equal(f["sign"], []string{"500", "501"}) {
			t.Errorf("chosen are %v", f["sign"])
		}
		want(t, b.Post(path+"/sign-off", with(f, "meaning", desktest.Meaning)), 400, `href="#sign-password"`)
		own := with(f, "meaning", "own", "own", "  Read\r\nby me. ", "password", desktest.Password)
		p := want(t, b.Post(path+"/sign-off", own), 303)
		want(t, b.Get(p.Location()), 200, "Baseline and Follow-up 1 are signed, not published yet", "Read by me.")
	})
	counted(t, in, "signoff_desk_signatures_total", `{check="agrees"} 2`, `{check="contradicts"} 1`, `{check="judgement"} 0`)
}

func TestWhatHasChangedIsNotSignedOnThePages(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	f := with(form(t, b.Get(path+"?sign=501"), path+"/sign-off"), "meaning", "own", "own", "typed by me", "user", desktest.User, "password", desktest.Password)

	changed := desktest.Agreeing(desktest.Study, 5, "01-704-1008")[0] // another visit than the one that is signed
	changed.Revision, changed.Effective = 2, "2026-01-06"
	in.Register(changed)
	again := want(t, b.Post(path+"/sign-off", f), 412, "This case changed at ", "nothing was signed", "typed by me")
	if waiting(t, in) != 2 {
		t.Fatal("a stale form has signed")
	}
	now := with(form(t, again, path+"/sign-off"), "password", desktest.Password)
	if now.Get("stamp") == f.Get("stamp") || now.Get("own") != "typed by me" || !slices.Equal(now["sign"], []string{"501"}) {
		t.Errorf("the form is filled with %v", now)
	}
	t.Run("also without what the form needs", func(t *testing.T) {
		want(t, b.Post(path+"/sign-off", with(f, "password", "", "meaning", "", "own", "")), 412, "nothing was signed")
	})
	t.Run("an old digest with the stamp of now", func(t *testing.T) {
		want(t, b.Post(path+"/sign-off", with(now, "digest.501", f.Get("digest.500"))), 412, "nothing was signed")
		want(t, b.Post(path+"/sign-off", with(now, "sign", "7103")), 412)
	})
	refused := audited(t, in, "assessment.sign-refused")
	if len(refused) != 4 || !strings.Contains(refused[0], `"stale"`) {
		t.Errorf("audited %v", refused)
	}
	t.Run("signed in another tab", func(t *testing.T) {
		other := form(t, b.Get(path+"?sign=500"), path+"/sign-off")
		want(t, b.Post(path+"/sign-off", with(other, "meaning", desktest.Meaning, "user", desktest.User, "password", desktest.Password)), 303)
		want(t, b.Post(path+"/sign-off", now), 412, "nothing was signed")
	})
	want(t, b.Post(path+"/sign-off", with(form(t, b.Get(path), path+"/sign-off"), "meaning", desktest.Meaning, "password", desktest.Password)), 303)
	want(t, b.Get(path), 200, "Nothing to sign")
}

// The time that a refused form is told is that of the change, not of one before it.
func TestARefusedFormIsToldWhenTheCaseChanged(t *testing.T) {
	t.Parallel()
	clock := desktest.NewClock() // 10:06
	in := desktest.Install(t, desk.Config{Clock: clock.Now})
	visits := desktest.Agreeing(desktest.Study, 5, "01-704-1008")
	in.Register(visits...)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	sent := func(action string, f url.Values) desktest.Page { return b.Post(path+action, f) }
	read := func(action string) url.Values {
		return with(form(t, b.Get(path+"?sign=500"), path+action), "meaning", desktest.Meaning, "user", desktest.User, "password", desktest.Password)
	}

	sign, give := read("/sign-off"), with(read("/return"), "return", "501", "return-reason", "x")
	clock.Add(time.Minute)
	want(t, sent("/return", give), 303)
	clock.Add(time.Minute)
	want(t, sent("/sign-off", sign), 412, "This case changed at 10:07 UTC; nothing was signed")

	in.Register(visits[1]) // 10:08
	sign, give = read("/sign-off"), with(read("/return"), "return", "501", "return-reason", "x")
	clock.Add(time.Minute)
	moved := desktest.Agreeing(desktest.Study, 6, "another")[0]
	moved.ID, moved.Revision = "501", 2
	in.Register(moved)
	clock.Add(time.Minute)
	want(t, sent("/sign-off", sign), 412, "This case changed at 10:09 UTC; nothing was signed")
	want(t, sent("/return", give), 412, "This case changed at 10:09 UTC; nothing was returned")

	in.Sign("500")
	c, err := in.Outbox.Reviews().Case(t.Context(), desktest.Study, 5)
	desktest.OK(t, err)
	p := want(t, sent("/return", with(give, "return", "500", "stamp", c.Stamp)), 409, "Nothing was returned", "No version of assessment 500 waits")
	lacks(t, p, "This case changed at")
}

// A session that ends while its form is open signs nothing.
func TestASessionThatHasEndedSignsNothing(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	path := pathOfCase("5")
	b := in.SignedIn(desktest.User)
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", desktest.Meaning, "user", desktest.User, "password", desktest.Password)
	desktest.OK(t, in.Outbox.Accounts().DisablePI(t.Context(), "ops", desktest.User))
	if p := b.Post(path+"/sign-off", f); p.Status != http.StatusSeeOther || !strings.HasPrefix(p.Location(), "/sign-in?") {
		t.Errorf("answered %d to %q", p.Status, p.Location())
	}
	if waiting(t, in) != 2 {
		t.Error("something was signed")
	}
}

func TestTheFifthWrongPasswordEndsItsSessionOnly(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	path := pathOfCase("5")
	b, other := in.SignedIn(desktest.User), in.SignedIn(desktest.User)
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", desktest.Meaning, "user", desktest.User)
	for range 4 {
		want(t, b.Post(path+"/sign-off", with(f, "password", "wrong wrong wrong")), 403, "The password is wrong")
	}
	p := want(t, b.Post(path+"/sign-off", with(f, "password", "wrong wrong wrong")), 429, "Too many attempts", "Nothing was signed")
	if p.Header.Get("Retry-After") == "" || !strings.Contains(p.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("headers %v", p.Header)
	}
	lacks(t, p, "Sign out")
	if p := b.Get(path); p.Status != http.StatusSeeOther {
		t.Errorf("the session goes on: %d", p.Status)
	}
	want(t, other.Get(path), 200)
	want(t, other.Post(path+"/sign-off", with(f, "password", desktest.Password)), 429, "Too many failed sign-ins", `href="#sign-password"`)
	want(t, other.Get(path), 200)
	if lines := audited(t, in, "session.ended"); len(lines) != 1 || !strings.Contains(lines[0], `"lock"`) {
		t.Errorf("audited %v", lines)
	}
	if waiting(t, in) != 2 {
		t.Error("something was signed")
	}
}

func TestTwoPIsSignAtOnceOnThePages(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	desktest.OK(t, accountstest.AddPI(t.Context(), in.Outbox.Accounts(), "ops", "second", "Dr. B", []string{desktest.Study}, desktest.Password))
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	path := pathOfCase("5")
	var group sync.WaitGroup
	statuses, send := make([]int, 2), make([]func(), 2)
	for i, user := range []string{desktest.User, "second"} {
		b := in.SignedIn(user)
		f := with(form(t, b.Get(path+"?sign=all"), path+"/sign-off"), "meaning", desktest.Meaning, "user", user, "password", desktest.Password)
		send[i] = func() { statuses[i] = b.Post(path+"/sign-off", f).Status }
	}
	for _, f := range send {
		group.Go(f)
	}
	group.Wait()
	slices.Sort(statuses)
	if !slices.Equal(statuses, []int{303, 409}) && !slices.Equal(statuses, []int{303, 412}) {
		t.Errorf("answered %v", statuses)
	}
	if n := len(audited(t, in, "assessment.signed")); n != 2 {
		t.Errorf("%d versions were signed", n)
	}
}

func TestWhatIsNotGrantedIsNotThereToSign(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	b, stranger, path := in.SignedIn(desktest.User), in.SignedIn(desktest.OtherUser), pathOfCase("5")
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", desktest.Meaning, "user", desktest.OtherUser, "password", desktest.Password)
	unknown := want(t, stranger.Get(pathOfCase("99")), 404)
	for name, p := range map[string]desktest.Page{
		"the case":        stranger.Get(path),
		"its sign-off":    stranger.Post(path+"/sign-off", f),
		"its return":      stranger.Post(path+"/return", url.Values{"return": {"500"}, "return-reason": {"x"}}),
		"its stream":      stranger.Get("/live?case=" + strings.TrimPrefix(path, "/cases/")),
		"no such study":   b.Get("/cases/other/5"),
		"no such number":  b.Get(pathOfCase("05")),
		"no such receipt": b.Get(path + "?signed=x"),
	} {
		if p.Status != 404 || p.Main() != unknown.Main() {
			t.Errorf("%s: %d\n%s", name, p.Status, p.Body)
		}
	}
	for _, p := range []desktest.Page{stranger.Get("/assessments/500"), b.Get("/assessments/999"), b.Get("/assessments/%00"), stranger.Post("/assessments/500/withdrawal", f),
		stranger.Get("/assessments/500?signed=x"), b.Get("/assessments/999?signed=x")} {
		want(t, p, 404, "No assessment that you may see")
	}
	if refused := audited(t, in, "assessment.sign-refused"); len(refused) != 1 || !strings.HasPrefix(refused[0], "okafor 500 ") {
		t.Errorf("audited %v", refused)
	}
	if refused := audited(t, in, "report.withdraw-refused"); len(refused) != 1 {
		t.Errorf("audited %v", refused)
	}
}

// What a PI has signed stays readable to that PI when the grant has ended.
func TestAReceiptOutlivesTheGrant(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	desktest.OK(t, accountstest.AddPI(t.Context(), in.Outbox.Accounts(), "ops", "second", "Dr. B", []string{desktest.Study}, desktest.Password))
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	event := in.Sign("500")[0].Event
	b, second, stranger := in.SignedIn(desktest.User), in.SignedIn("second"), in.SignedIn(desktest.OtherUser)
	paths := []string{pathOfCase("5") + "?signed=" + event, "/assessments/500?signed=" + event}
	for _, path := range paths {
		want(t, b.Get(path), 200, "Your signature", "Withdraw Baseline", `href="/assessments/500"`)
		want(t, second.Get(path), 200, "Dr. Ana Rivera", ">Signature<")
		want(t, stranger.Get(path), 404)
	}
	desktest.OK(t, in.Outbox.Accounts().RevokePI(t.Context(), "ops", desktest.User, desktest.Study))
	desktest.OK(t, in.Outbox.Accounts().RevokePI(t.Context(), "ops", "second", desktest.Study))
	for _, path := range paths {
		lacks(t, want(t, b.Get(path), 200, "Your signature", desktest.Meaning), "Withdraw Baseline", `href="/assessments/500"`, `href="`+pathOfCase("5")+`"`)
		want(t, second.Get(path), 404)
	}
	want(t, b.Get("/assessments/500"), 404)
}

func TestTextsFromOutsideStayTexts(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Case71(desktest.Study)...)
	in.Sign("7100", "7101", "7102")
	const hostile = `"><script>alert(1)</script>{{.}}`
	b, path := in.SignedIn(desktest.User), pathOfCase("71")
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", "own", "own", hostile, "reason.7103", hostile, "user", hostile, "password", desktest.Password)
	want(t, b.Post(path+"/sign-off", with(f, "user", desktest.User, "own", "left\u202eright")), 400, `href="#sign-meaning"`)
	pages := []desktest.Page{want(t, b.Post(path+"/sign-off", f), 403, "&lt;script&gt;")}
	p := want(t, b.Post(path+"/sign-off", with(f, "user", desktest.User)), 303)
	receipt := want(t, b.Get(p.Location()), 200, "&lt;script&gt;")
	pages = append(pages, receipt, want(t, b.Get("/assessments/7103"), 200, "&lt;script&gt;"))
	for _, p := range pages {
		lacks(t, p, "<script>alert")
	}
}

// counted fails the test unless the metric has the lines, without its comments.
func counted(t *testing.T, in *desktest.Installation, name string, lines ...string) {
	t.Helper()
	text := gathered(t, in.Metrics)
	for _, line := range lines {
		if !strings.Contains(text, "\n"+name+line+"\n") {
			t.Errorf("the metrics do not have %s%s:\n%s", name, line, text)
		}
	}
}

// gathered returns the metrics as they are read.
func gathered(t *testing.T, of interface{ Metrics() []prometheus.Collector }) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(of.Metrics()...)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	return answer.Body.String()
}

// A form that names an assessment of another study has a line in the history of that study,
// which names nothing of the form's own.
func TestARefusalNamesNoOtherStudy(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	in.Register(desktest.Agreeing(desktest.Other, 6, "other-subject")...)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", desktest.Meaning, "user", desktest.User, "password", desktest.Password)
	want(t, b.Post(path+"/sign-off", with(f, "sign", "600")), 412)
	lacks(t, want(t, in.SignedIn(desktest.OtherUser).Get("/history"), 200, "A sign-off by rivera was refused"), desktest.Study, "case 5")
	lacks(t, b.Get("/history"), desktest.Other)
}

// A PI does not find out which assessments there are in studies that are not granted.
func TestAReturnIsRefusedAlikeForAnAssessmentOfAnotherStudyAndForNone(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	elsewhere := desktest.Agreeing(desktest.Other, 6, "another")[0]
	elsewhere.ID = "elsewhere"
	in.Register(elsewhere)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	f := with(form(t, b.Get(path), path+"/return"), "return-reason", "x")
	for stamp, status := range map[string]int{f.Get("stamp"): 404, strings.Repeat("0", 64): 412} {
		for _, id := range []string{"elsewhere", "nowhere"} {
			want(t, b.Post(path+"/return", with(f, "return", id, "stamp", stamp)), status)
		}
	}
}
