package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// state is a page in one of its states.
type state struct {
	name   string // of the subtest and of the pictures
	status int    // of the answer
	reach  func(b *tab) (status int)
}

// Who is in the installation of the states, beside the PIs of every installation.
const (
	viewer   = "lind"     // granted a study in which many cases wait, and an empty one
	chooser  = "haddad"   // chooses passwords that are refused
	changer  = "novak"    // chooses one that is accepted
	newcomer = "oyelaran" // has a one-time password
	oneTime  = "one-time password of a PI"
	many     = "MANY-01"
	empty    = "EMPTY-01"
)

// states are the states of the pages that change nothing that another one shows. Each is
// reached in a tab with cookies of its own.
var states = []state{
	{"sign-in", http.StatusOK, visiting("/sign-in")},
	{"sign-in-idle", http.StatusOK, visiting("/sign-in?ended=idle")},
	{"sign-in-password-changed", http.StatusOK, visiting("/sign-in?ended=password")},
	{"sign-in-after-lock", http.StatusOK, visiting("/sign-in?ended=lock")},
	{"sign-in-signed-out", http.StatusOK, func(b *tab) int {
		b.signedIn(desktest.User, "/waiting")
		return b.press("header button")
	}},
	{"sign-in-still-signed-in", http.StatusOK, as(desktest.User, "/sign-in?ended=idle&next=/waiting")},
	{"sign-in-no-cookie", http.StatusBadRequest, visiting("/sign-in?begun=1")},
	{"sign-in-form-lost", http.StatusOK, func(b *tab) int {
		b.signedIn(desktest.User, casePath(71))
		// The script would go to the sign-in by itself, at the next event of its stream.
		run(b, chromedp.Evaluate[any](`window.dispatchEvent(new Event("pagehide")); true`))
		b.do(call(network.ClearBrowserCookies, cdp.Empty{}))
		return b.press("#sign-button")
	}},
	{"sign-in-wrong", http.StatusUnauthorized, func(b *tab) int {
		b.visit("/sign-in")
		return b.signIn("nobody", "not this one")
	}},
	{"sign-in-locked", http.StatusTooManyRequests, func(b *tab) (status int) {
		b.visit("/sign-in")
		for range 6 {
			status = b.signIn("locked", "not this one")
		}
		return status
	}},
	{"session-ends", http.StatusOK, func(b *tab) int {
		b.signedIn(desktest.User, "/waiting")
		// A minute before the end, as the script sees it.
		run(b, chromedp.Evaluate[any](`const now = Date.now; Date.now = () => now() + 14 * 60000; document.dispatchEvent(new Event("visibilitychange")); true`))
		b.wait("#session-ends")
		run(b, chromedp.Evaluate[any](`Date.now = now; true`)) // or else the session would end during the checks
		return http.StatusOK
	}},

	{"not-found", http.StatusNotFound, visiting("/nothing")},
	{"not-found-signed-in", http.StatusNotFound, as(desktest.User, "/nothing")},
	{"method-not-allowed", http.StatusMethodNotAllowed, as(desktest.User, "/sign-out")},
	{"too-large", http.StatusRequestEntityTooLarge, func(b *tab) int {
		b.visit("/sign-in")
		run(b, chromedp.Evaluate[any](`document.querySelector("#user").value = "x".repeat(1 << 16); document.querySelector("#password").value = "x"; true`))
		return b.press("main button")
	}},
	{"wrong-type", http.StatusUnsupportedMediaType, func(b *tab) int {
		b.visit("/sign-in")
		run(b, chromedp.Evaluate[any](`const f = document.querySelector("form"); f.noValidate = true; f.enctype = "text/plain"; true`))
		return b.press("main button")
	}},

	{"password", http.StatusOK, as(desktest.User, "/password")},
	{"password-one-time", http.StatusOK, func(b *tab) int {
		b.visit("/sign-in")
		return b.signIn(newcomer, oneTime)
	}},
	{"password-not-the-same", http.StatusBadRequest, choosing(chooser, desktest.Password, "a first long password", "a second long password")},
	{"password-refused", http.StatusBadRequest, choosing(chooser, desktest.Password, "password1234", "password1234")},
	{"password-wrong", http.StatusUnauthorized, choosing(chooser, "not this one", "a first long password", "a first long password")},
	{"password-changed", http.StatusOK, choosing(changer, desktest.Password, "a first long password", "a first long password")},

	{"waiting", http.StatusOK, as(desktest.User, "/waiting")},
	{"waiting-contradictions", http.StatusOK, as(desktest.User, "/waiting?show=contradictions")},
	{"waiting-none", http.StatusOK, as(desktest.OtherUser, "/waiting")},
	{"waiting-many", http.StatusOK, as(viewer, "/waiting")},
	{"waiting-many-next", http.StatusOK, func(b *tab) int {
		b.signedIn(viewer, "/waiting")
		return b.press(`a[rel="next"]`)
	}},
	{"waiting-no-contradictions", http.StatusOK, as(viewer, "/waiting?show=contradictions")},
	{"find-none", http.StatusOK, finding("0")},
	{"find-several", http.StatusOK, finding("10081007")},
	{"find-nothing-typed", http.StatusBadRequest, finding("")},

	{"case-contradiction", http.StatusOK, as(desktest.User, casePath(71))},
	{"case-judgement", http.StatusOK, as(desktest.User, casePath(73))},
	{"case-unknown", http.StatusOK, as(desktest.User, casePath(74))},
	{"case-one-visit", http.StatusOK, as(desktest.User, casePath(75))},
	{"case-no-measurement", http.StatusOK, as(desktest.User, casePath(76))},
	{"case-gap", http.StatusOK, as(desktest.User, casePath(77))},
	{"case-26-visits", http.StatusOK, as(desktest.User, casePath(81))},
	{"case-hostile", http.StatusOK, as(desktest.User, casePath(83))},
	{"case-agrees", http.StatusOK, as(desktest.User, casePath(4))},
	{"case-all-visits", http.StatusOK, as(desktest.User, casePath(4)+"?sign=all")},
	{"case-no-visit-chosen", http.StatusBadRequest, func(b *tab) int {
		b.signedIn(desktest.User, casePath(4)+"?sign=all")
		for _, box := range []string{"#sign-visits", "#sign-visits-401"} {
			b.do(chromedp.Click(chromedp.CSS(box)))
		}
		return b.press("#sign-button")
	}},
	{"case-takes-back", http.StatusOK, as(desktest.User, casePath(9))},
	{"case-moved-on", http.StatusOK, as(desktest.User, casePath(8))},
	{"case-other-subject", http.StatusOK, as(desktest.User, casePath(10))},
	{"case-signed", http.StatusOK, as(desktest.User, casePath(5))},
	{"case-withdrawn", http.StatusOK, as(desktest.User, casePath(6))},
	{"case-returned", http.StatusOK, as(desktest.User, casePath(7))},
	{"case-of-another-study", http.StatusNotFound, as(desktest.OtherUser, casePath(71))},
	{"case-refused", http.StatusBadRequest, func(b *tab) int {
		b.signedIn(desktest.User, casePath(71))
		return b.press("#sign-button")
	}},
	{"case-wrong-password", http.StatusForbidden, func(b *tab) int {
		b.signedIn(desktest.User, casePath(4))
		return b.sign("not this one")
	}},
	{"case-return-refused", http.StatusBadRequest, func(b *tab) int {
		b.signedIn(desktest.User, casePath(71))
		b.do(chromedp.Click(chromedp.CSS(".sign summary")))
		return b.press(`form[action$="/return"] button`)
	}},

	{"receipt", http.StatusOK, receipt(desktest.User, "500")},
	{"receipt-delivered", http.StatusOK, receipt(desktest.User, "1101")},
	{"receipt-several-not-published", http.StatusOK, receipt(desktest.User, "1200")},
	{"receipt-withdrawn", http.StatusOK, receipt(desktest.User, "601")},
	{"receipt-parked", http.StatusOK, receipt(desktest.OtherUser, "2001")},

	{"assessment-waiting", http.StatusOK, as(desktest.User, "/assessments/7103")},
	{"assessment-signed", http.StatusOK, as(desktest.User, "/assessments/501")},
	{"assessment-amended", http.StatusOK, as(desktest.User, "/assessments/800")},
	{"assessment-withdrawn", http.StatusOK, as(desktest.User, "/assessments/601")},
	{"assessment-returned", http.StatusOK, as(desktest.User, "/assessments/701")},
	{"assessment-withdrawal-refused", http.StatusBadRequest, func(b *tab) int {
		b.signedIn(desktest.User, "/assessments/501")
		b.do(chromedp.Click(chromedp.CSS(".withdraw summary")))
		return b.press(".withdraw form button")
	}},

	{"signed", http.StatusOK, as(desktest.User, "/signed")},
	{"signed-none", http.StatusOK, as(viewer, "/signed")},
	{"studies", http.StatusOK, as(desktest.User, "/studies")},
	{"study", http.StatusOK, as(desktest.User, "/studies/"+events.StudyKey(desktest.Study))},
	{"study-empty", http.StatusOK, as(viewer, "/studies/"+events.StudyKey(empty))},
	{"history", http.StatusOK, as(desktest.User, "/history")},
	{"history-none", http.StatusOK, as(viewer, "/history?study="+empty)},
}

// visiting reaches a page by its path, not signed in.
func visiting(path string) func(*tab) int {
	return func(b *tab) int { return b.visit(path) }
}

// as reaches a page by its path, signed in.
func as(user, path string) func(*tab) int {
	return func(b *tab) int {
		b.signedIn(user, "/waiting")
		return b.visit(path)
	}
}

// finding searches for a subject.
func finding(subject string) func(*tab) int {
	return func(b *tab) int {
		b.signedIn(desktest.User, "/waiting")
		b.fill("#subject", subject)
		return b.press(`form[action="/find"] button`)
	}
}

// choosing sends the form of a new password, signed in.
func choosing(user, present, password, again string) func(*tab) int {
	return func(b *tab) int {
		b.signedIn(user, "/waiting")
		b.visit("/password")
		b.fill("#present", present)
		b.fill("#password", password)
		b.fill("#again", again)
		return b.press("main button")
	}
}

// receipt reaches the receipt of the last signature of an assessment.
func receipt(user, id string) func(*tab) int {
	return func(b *tab) int {
		b.signedIn(user, "/assessments/"+id)
		return b.press(`#versions a[href*="?signed="]`)
	}
}

// sign fills in the form of a signature, for the first time in a session, and sends it.
func (b *tab) sign(password string) int {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(`.sign input[name="meaning"]`)))
	b.fill("#sign-user", desktest.User)
	b.fill("#sign-password", password)
	return b.press("#sign-button")
}

// installStates opens an installation in which each state of states can be reached.
func installStates(t *testing.T) *desktest.Installation {
	t.Helper()
	in := desktest.Install(t, desk.Config{})
	people := in.Outbox.Accounts()
	desktest.OK(t, accountstest.AddPI(t.Context(), people, "ops", viewer, "Dr. Eva Lind", []string{many, empty}, desktest.Password))
	desktest.OK(t, accountstest.AddPI(t.Context(), people, "ops", chooser, "Dr. Sami Haddad", []string{empty}, desktest.Password))
	desktest.OK(t, accountstest.AddPI(t.Context(), people, "ops", changer, "Dr. Jan Novak", []string{empty}, desktest.Password))
	desktest.OK(t, people.AddPI(t.Context(), "ops", newcomer, "Dr. Ade Oyelaran", []string{empty}, oneTime))
	for _, partner := range []string{"acme", "globex"} {
		_, err := people.AddPartner(t.Context(), "ops", partner, partner, []string{desktest.Study})
		desktest.OK(t, err)
	}
	received := func(delivered, acknowledged uint64) {
		desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{
			{Partner: "acme", Study: events.StudyKey(desktest.Study), Delivered: delivered, Acknowledged: acknowledged},
		}))
	}

	// What waits, among it a case that was signed in a lower revision of the case, one that
	// has moved on, and a visit of another subject.
	for _, s := range desktest.Samples() {
		in.Register(s.Assessments...)
		for _, a := range s.Assessments[:s.Sign] {
			in.Sign(a.ID)
		}
	}
	agreeing := func(number int32) []events.Assessment {
		return desktest.Agreeing(desktest.Study, number, "1008100"+strconv.Itoa(int(number)))
	}
	in.Register(desktest.Agreeing(desktest.Study, 3, "10081007")...)
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	for _, number := range []int32{8, 9} {
		visits := agreeing(number)
		in.Register(visits...)
		in.Sign(visits[0].ID)
		if number == 9 {
			in.Sign(visits[1].ID)
		}
		visits[0].Case.Revision = 2
		in.Register(visits[0])
		if number == 8 {
			in.Sign(visits[0].ID)
		}
	}
	other := agreeing(10)
	other[1].Subject = "02-000-0001"
	in.Register(other[0])
	in.Register(other[1])

	// What was signed: acknowledged, delivered and not published; withdrawn; and returned.
	for _, number := range []int32{5, 6, 7, 11, 12} {
		in.Register(agreeing(number)...)
	}
	in.Sign("500")
	in.Sign("501")
	in.Sign("600", "601")
	_, err := in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: desktest.User, ID: "601", Meaning: "I withdraw this assessment.", Reason: withdrawn})
	desktest.OK(t, err)
	_, err = in.Outbox.Return(t.Context(), outbox.Return{User: desktest.User, ID: "701", Reason: withdrawn})
	desktest.OK(t, err)
	acknowledged := in.Publish(0)
	in.Sign("1100", "1101")
	received(in.Publish(0), acknowledged)
	in.Sign("1200", "1201")

	// Studies of other PIs: one is parked, one has more cases than a page, and one has none.
	in.Register(desktest.Agreeing(desktest.Other, 20, "20081007")...)
	_, err = in.Outbox.SignOff(t.Context(), outbox.SignOff{User: desktest.OtherUser, Meaning: desktest.Meaning, IDs: []string{"2000", "2001"}})
	desktest.OK(t, err)
	desktest.OK(t, in.Outbox.Source().Park(t.Context(), events.StudyKey(desktest.Other), "the stream has another event with this number"))
	for number := range int32(60) {
		in.Register(desktest.Agreeing(many, 200+number, fmt.Sprintf("3008%04d", number))...)
	}
	return in
}

// In each state, light and dark, wide and narrow, axe-core finds nothing; nothing is written
// on the console, no request leaves the host, and a narrow window need not be scrolled
// sideways.
func TestEachStateOfEachPage(t *testing.T) {
	in := installStates(t)
	t.Run("unchanged", func(t *testing.T) {
		running := make(chan struct{}, 2) // as many passwords are checked at once
		for _, s := range states {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				running <- struct{}{}
				defer func() { <-running }()
				s.check(t, in)
			})
		}
	})
	// A case changes while a PI looks at it. After that it can be sent without script only.
	visits := desktest.Samples()[9].Assessments
	revision := int32(1)
	changing := func(b *tab) int {
		b.signedIn(desktest.User, casePath(80))
		revision++
		visits[1].Revision, visits[1].Lesions[0].Value = revision, events.Decimal(fmt.Sprintf("%d.5", 20+revision))
		in.Register(visits[1])
		b.cannotSign()
		return http.StatusOK
	}
	for _, s := range []state{
		{"case-changes", http.StatusOK, changing},
		{"case-changed", http.StatusPreconditionFailed, func(b *tab) int {
			changing(b)
			run(b, chromedp.Evaluate[any](`document.getElementById("sign-button").disabled = false; true`))
			return b.sign(desktest.Password)
		}},
	} {
		t.Run(s.name, func(t *testing.T) { s.check(t, in) })
	}
}

// check reaches a state of the desk and checks it. Then it ends the session: a PI may have
// five, and a sixth would end one whose state is checked slowly.
func (s state) check(t *testing.T, in *desktest.Installation) {
	b := newTab(t, in.Server.URL)
	if status := s.reach(b); status != s.status {
		t.Fatalf("status %d, want %d:\n%s", status, s.status, b.text("body"))
	}
	b.check(s.name)
	sessions := in.Desk.Sessions()
	cookies := run(b, func(ctx context.Context, target *chromedp.Target) ([]*network.Cookie, error) {
		result, err := cdp.Call(ctx, target, network.GetCookies, network.GetCookiesParams{})
		return result.Cookies, err
	})
	for _, cookie := range cookies {
		if open, _, err := sessions.Resume(t.Context(), cookie.Value, false); err == nil {
			sessions.End(t.Context(), open, accounts.SessionSignedOut)
		}
	}
}

// check checks the page that is shown, light and dark, wide and narrow. Its pictures have
// this name.
func (b *tab) check(name string) {
	b.t.Helper()
	b.view(320, "light")
	if n := b.overflow(); n > 0 {
		b.t.Errorf("a window of 320 pixels is too narrow by %d", n)
	}
	b.screenshot(name + "-light-320")
	b.clean()
	b.loadAxe()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{390, 1440} {
			b.view(width, scheme)
			b.screenshot(fmt.Sprintf("%s-%s-%d", name, scheme, width))
			for _, v := range b.violations() {
				b.t.Errorf("%s, %d wide: %s", scheme, width, v)
			}
		}
	}
}

// The checks of TestEachStateOfEachPage find what they look for.
func TestTheChecksFindProblems(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL)
	b.visit("/sign-in")
	run(b, chromedp.Evaluate[any](`(async () => {
		document.querySelector("main").insertAdjacentElement("beforeend", document.createElement("img"));
		const wide = document.createElement("div");
		wide.id = "wide";
		document.querySelector("main").append(wide);
		wide.style.width = "500px"; // by script, which the policy allows
		const style = document.createElement("style");
		style.textContent = "body { color: red }";
		document.head.append(style);
		await fetch("https://elsewhere.example/").catch(() => {});
		return true;
	})()`, chromedp.EvalAwaitPromise))
	b.view(320, "light")
	if b.overflow() <= 0 {
		t.Error("a part that is 500 pixels wide fits into 320")
	}
	for _, want := range []string{"style-src", "connect-src"} { // the browser may report it after it has answered
		desktest.Eventually(t, "what breaks "+want+" is on the console", func() bool { return strings.Contains(strings.Join(b.complaints(), "\n"), want) })
	}
	b.loadAxe()
	if found := strings.Join(b.violations(), "\n"); !strings.Contains(found, "image-alt: img") {
		t.Errorf("axe-core does not find the picture without a text:\n%s", found)
	}
}
