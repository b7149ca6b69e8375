package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

const (
	why       = "The bladder is full at this visit; the lesion is not larger."
	withdrawn = "The scan belongs to another subject."
)

// contradicting returns the visits of case 71 as a case of this number. Its last visit
// contradicts RECIST 1.1; that is the id.
func contradicting(number int32) (visits []events.Assessment, id string) {
	visits = desktest.Case71(desktest.Study)
	for i := range visits {
		visits[i].ID = fmt.Sprintf("%d%02d", number, i)
		visits[i].Case.ID = number
		visits[i].Subject = "01-704-" + strconv.Itoa(int(number))
	}
	return visits, visits[len(visits)-1].ID
}

func casePath(number int32) string {
	return fmt.Sprintf("/cases/%s/%d", events.StudyKey(desktest.Study), number)
}

// hand is how a PI uses a page.
type hand struct {
	fill   func(b *tab, selector, text string)
	choose func(b *tab, selector string)     // a radio button, a box or a fold
	press  func(b *tab, selector string) int // something that leads to another page; returns the status of that
}

var (
	mouse = hand{
		fill:   func(b *tab, selector, text string) { b.fill(selector, text) },
		choose: func(b *tab, selector string) { b.do(chromedp.Click(chromedp.CSS(selector))) },
		press:  func(b *tab, selector string) int { return b.press(selector) },
	}
	keyboard = hand{
		fill: func(b *tab, selector, text string) {
			b.tabTo(selector)
			b.do(chromedp.KeyEvent(text))
		},
		choose: func(b *tab, selector string) {
			b.tabTo(selector)
			b.do(keys(" "))
		},
		press: func(b *tab, selector string) int {
			b.tabTo(selector)
			return b.leads(keys(kb.Enter))
		},
	}
)

// A PI signs in, meets a contradiction, is asked for a reason, signs, sees the event number
// and the partner's acknowledgement arrive, and withdraws.
func TestTheWayOfAPI(t *testing.T) {
	in := startProgram(t)
	in.follow()
	ways := []struct {
		name   string
		hand   hand
		script bool
	}{
		{"with script", mouse, true},
		{"without script", mouse, false},
		{"by keyboard only", keyboard, true},
	}
	// The visits before the one that is signed are acknowledged before the page shows them:
	// a page that changes by itself may move what is to be clicked.
	for i := range ways {
		visits, _ := contradicting(int32(71 + i))
		in.register(visits...)
		in.sign(visits[:3]...)
	}
	for i := range ways {
		desktest.Eventually(t, "the visits before are acknowledged", func() bool { return in.acknowledged(int32(71 + i)) })
	}
	for i, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			number := int32(71 + i)
			_, id := contradicting(number)
			var before []step
			if !way.script {
				before = append(before, withoutScript)
			}
			b := newTab(t, in.desk, before...)
			pi := way.hand

			b.visit("/waiting")
			pi.fill(b, "#user", desktest.User)
			pi.fill(b, "#password", desktest.Password)
			b.expect(pi.press(b, "main button"), http.StatusOK, "/waiting")
			b.expect(pi.press(b, fmt.Sprintf(`main a[href^="%s"]`, casePath(number))), http.StatusOK, casePath(number))

			// Without a reason nothing is signed, and what was typed is kept.
			pi.choose(b, `input[name="meaning"]`)
			pi.fill(b, "#sign-user", desktest.User)
			pi.fill(b, "#sign-password", desktest.Password)
			b.expect(pi.press(b, "#sign-button"), http.StatusBadRequest, casePath(number))
			b.wait(`[role="alert"] a[href="#reason-` + id + `"]`)
			if user, password := b.value("#sign-user"), b.value("#sign-password"); user != desktest.User || password != "" {
				t.Errorf("after the refusal the user name is %q and the password %q", user, password)
			}

			pi.fill(b, "#reason-"+id, why)
			pi.fill(b, "#sign-password", desktest.Password)
			b.expect(pi.press(b, "#sign-button"), http.StatusOK, casePath(number)+"?signed=")
			b.eventually(!way.script, "the event is published", contains("#receipt", "signed and published"))
			if text := b.text("main"); !strings.Contains(text, desktest.Name) || !strings.Contains(text, why) || !strings.Contains(text, "Event ") {
				t.Errorf("the receipt is\n%s", text)
			}
			b.eventually(!way.script, "the partner has acknowledged", contains("#received", "✓ Acknowledged"))

			// The second signature of the session needs the password alone.
			pi.choose(b, ".withdraw summary")
			pi.fill(b, "#withdraw-reason", withdrawn)
			pi.choose(b, `.withdraw input[name="meaning"]`)
			pi.fill(b, "#withdraw-password", desktest.Password)
			b.expect(pi.press(b, ".withdraw form button"), http.StatusOK, "/assessments/"+id)
			text := b.text("main .note.bad") // the withdrawal
			for _, want := range []string{"Withdrawn", desktest.Name, withdrawn, "UTC"} {
				if !strings.Contains(text, want) {
					t.Errorf("the withdrawal lacks %q:\n%s", want, text)
				}
			}
			b.clean()
		})
	}
}

// A PI returns an assessment to its source and is asked why. It waits no more, until the
// source registers it again.
func TestAPIReturnsAnAssessment(t *testing.T) {
	t.Parallel()
	const reason = "The scan is of another visit."
	for _, way := range []struct {
		name   string
		hand   hand
		before []step
	}{
		{"with script", mouse, nil},
		{"without script", mouse, []step{withoutScript}},
		{"by keyboard only", keyboard, nil},
	} {
		t.Run(way.name, func(t *testing.T) {
			in := desktest.Install(t, desk.Config{})
			visits, id := contradicting(71)
			in.Register(visits...)
			in.Sign(visits[0].ID, visits[1].ID, visits[2].ID)
			b := newTab(t, in.Server.URL, way.before...)
			b.signedIn(desktest.User, casePath(71))
			const form = `form[action$="/return"]`
			way.hand.choose(b, ".sign summary")
			b.expect(way.hand.press(b, form+" button"), http.StatusBadRequest, casePath(71))
			b.wait(`[role="alert"] a[href="#return-reason"]`)
			b.awaitFocus("problem")
			way.hand.fill(b, "#return-reason", reason) // the fold is open
			b.expect(way.hand.press(b, form+" button"), http.StatusOK, "/assessments/"+id)
			text := b.text("main")
			for _, want := range []string{"Returned to its source", desktest.Name, reason, "UTC"} {
				if !strings.Contains(text, want) {
					t.Errorf("the assessment lacks %q:\n%s", want, text)
				}
			}
			waits := func(want bool) {
				t.Helper()
				b.visit("/waiting")
				if text := b.text("main"); strings.Contains(text, visits[0].Subject) != want {
					t.Errorf("the page of what waits is\n%s", text)
				}
			}
			waits(false)
			again := visits[3]
			again.Revision = 2
			in.Register(again)
			waits(true)
			b.clean()
		})
	}
}

// After a wrong password, and after a case has changed, what was typed is still there, but
// for the password, and nothing is signed.
func TestARefusedSignatureKeepsWhatWasTyped(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	visits, id := contradicting(71)
	in.Register(visits...)
	in.Sign(visits[0].ID, visits[1].ID, visits[2].ID)
	fields := []struct{ selector, text string }{
		{`.sign input[name="own"]`, "Read again."}, {"#reason-" + id, why}, {"#sign-user", desktest.User},
	}
	attempt := func(b *tab, password string, want int) {
		t.Helper()
		b.fill("#sign-password", password)
		b.expect(b.press("#sign-button"), want, casePath(71))
		b.wait(`[role="alert"]`)
		for _, f := range fields {
			if got := b.value(f.selector); got != f.text {
				t.Errorf("%s has %q, want %q", f.selector, got, f.text)
			}
		}
		if password := b.value("#sign-password"); password != "" {
			t.Errorf("the password is %q", password)
		}
	}
	tabs := []*tab{newTab(t, in.Server.URL), newTab(t, in.Server.URL, withoutScript)}
	for _, b := range tabs {
		b.signedIn(desktest.User, casePath(71))
		b.do(chromedp.Click(chromedp.CSS("#sign-own-meaning")))
		for _, f := range fields {
			b.fill(f.selector, f.text)
		}
		attempt(b, "not this one", http.StatusForbidden)
		b.awaitFocus("problem")
	}

	// Another visit of the case is registered in the meantime. With script the page says so
	// and cannot be sent, without it the desk refuses the form.
	changed := visits[2]
	changed.Revision, changed.Conclusion = 2, "Stable Disease"
	in.Register(changed)
	tabs[0].cannotSign()
	attempt(tabs[1], desktest.Password, http.StatusPreconditionFailed)
	if text := tabs[1].text("#problem"); !strings.Contains(text, "nothing was signed") {
		t.Errorf("the summary is\n%s", text)
	}

	// With script, what has changed stays marked when the page follows what arrives.
	run(tabs[0], chromedp.Evaluate[any](`document.getElementById("sign-button").disabled = false; true`))
	attempt(tabs[0], desktest.Password, http.StatusPreconditionFailed)
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	tabs[0].readAgain()
	tabs[0].eventually(false, "two cases wait", contains("#nav-waiting", "2"))
	if head := tabs[0].text(".lesions thead"); !strings.Contains(head, "registered again meanwhile") {
		t.Errorf("the head of the table is\n%s", head)
	}
	for _, b := range tabs {
		b.clean()
	}
}

// readAgain makes the page ask for itself, as it does when a tab is shown again.
func (b *tab) readAgain() {
	b.t.Helper()
	run(b, chromedp.Evaluate[any](`document.dispatchEvent(new Event("visibilitychange")); true`))
}

// cannotSign waits until the page of a case says that the case has changed, and fails the
// test if it can be signed all the same.
func (b *tab) cannotSign() {
	b.t.Helper()
	b.eventually(false, "the page says that the case has changed", contains("#changed", "changed while you looked at it"))
	if !run(b, chromedp.Evaluate[bool](`document.getElementById("sign-button").disabled`)) {
		b.t.Error("a case that has changed can be signed")
	}
}

// A case that is signed in another tab cannot be signed again unseen.
func TestACaseSignedInAnotherTab(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	first := newTab(t, in.Server.URL)
	first.signedIn(desktest.User, casePath(4))
	second := first.another()
	second.visit(casePath(4))
	for _, b := range []*tab{first, second} {
		b.do(chromedp.Click(chromedp.CSS(`input[name="meaning"]`)))
		b.fill("#sign-password", desktest.Password)
	}
	first.fill("#sign-user", desktest.User)
	first.expect(first.press("#sign-button"), http.StatusOK, casePath(4)+"?signed=")
	second.cannotSign()
	first.clean()
	second.clean()
}

// A page that follows its case still shows the visits that the PI has chosen.
func TestACaseFollowsWithTheChosenVisits(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	b := newTab(t, in.Server.URL)
	b.signedIn(desktest.User, "/waiting")
	b.visit(casePath(4) + "?sign=all")
	in.Register(desktest.Agreeing(desktest.Study, 5, "10081008")...)
	b.readAgain()
	b.eventually(false, "two cases wait", contains("#nav-waiting", "2"))
	if text := b.text("#check"); !strings.Contains(text, "Baseline") || !strings.Contains(text, "Follow-up 1") {
		t.Errorf("the check is\n%s", text)
	}
	b.clean()
}

// The page of what waits says when more waits.
func TestThePageOfWhatWaitsFollows(t *testing.T) {
	in := desktest.Install(t, desk.Config{})
	b := newTab(t, in.Server.URL)
	b.signedIn(desktest.User, "/waiting")
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	b.eventually(false, "the page says how much waits", contains("#waiting-head", "2 assessments of 1 case"))
	b.clean()
}

// A page that cannot be read when something has changed is read again.
func TestAPageThatCannotBeReadIsReadAgain(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	var read atomic.Int32
	var fail atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Live") != "" {
			defer read.Add(1)
			if fail.CompareAndSwap(true, false) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		in.Desk.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b := newTab(t, server.URL)
	b.signedIn(desktest.User, "/waiting")
	desktest.Eventually(t, "the page is read when its stream begins", func() bool { return read.Load() > 0 })
	fail.Store(true)
	in.Register(desktest.Agreeing(desktest.Study, 4, "10081007")...)
	b.eventually(false, "the page says how much waits", contains("#waiting-head", "2 assessments of 1 case"))
	if fail.Load() {
		t.Error("no answer was an error")
	}
}
