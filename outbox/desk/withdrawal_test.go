package desk_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

func TestAnAssessmentIsWithdrawn(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	event := in.Sign("500")[0].Event
	b := in.SignedIn(desktest.User)
	const page, action = "/assessments/500", "/assessments/500/withdrawal"
	f := form(t, want(t, b.Get(page), 200, "It is signed.", "available to partners", "Withdraw Baseline"), action)
	complete := with(f, "meaning", "own", "own", "I take it back.", "reason", "wrong\r\nsubject", "user", desktest.User, "password", desktest.Password)

	want(t, b.Post(action, f), 400, `href="#withdraw-reason"`, `href="#withdraw-meaning"`, `href="#withdraw-user"`, `href="#withdraw-password"`, "<details open>")
	want(t, b.Post(action, with(complete, "own", "")), 400, `href="#withdraw-meaning"`, "wrong\r\nsubject</textarea>")
	want(t, b.Post(action, with(complete, "password", "not the password")), 403, "The password is wrong", "I take it back.")
	want(t, b.Post(action, with(complete, "tag", strings.Repeat("0", 64))), 412, "nothing was withdrawn")
	want(t, b.Post(action, with(complete, "user", desktest.OtherUser)), 403, "not your user name")
	if refused := audited(t, in, "report.withdraw-refused"); len(refused) != 2 || !strings.Contains(refused[0], `"stale"`) {
		t.Errorf("audited %v", refused)
	}
	if n := len(audited(t, in, "report.withdrawn")); n != 0 {
		t.Fatalf("a refused form has withdrawn: %d lines", n)
	}
	for range 2 { // again with the same answer
		if p := want(t, b.Post(action, complete), 303); p.Location() != page {
			t.Errorf("redirected to %q", p.Location())
		}
	}
	if lines := audited(t, in, "report.withdrawn"); len(lines) != 1 || !strings.Contains(lines[0], `"channel":"desk"`) {
		t.Errorf("audited %v", lines)
	}
	receipt := pathOfCase("5") + "?signed=" + event
	p := want(t, b.Get(receipt), 200, "Baseline is signed, not published yet, and withdrawn", `<section class="note bad" id="receipt"`)
	lacks(t, p, "is signed and published")
	in.Publish(0)
	want(t, b.Get(receipt), 200, "Baseline is signed, and withdrawn")
	p = want(t, b.Get(page), 200, "It is withdrawn.", "<h3>Withdrawn</h3>", "Dr. Ana Rivera", "I take it back.", "wrong subject", "You withdrew assessment 500", "<dt>Signed over</dt><dd>desk</dd>")
	lacks(t, p, "Withdraw Baseline")
	want(t, b.Post(action, with(complete, "reason", "another reason")), 409, "Nothing was withdrawn", "was withdrawn by rivera")

	t.Run("counts as the first signature", func(t *testing.T) {
		lacks(t, want(t, b.Get(pathOfCase("5")), 200, "Sign Follow-up 1"), "Your user name")
	})
}

func TestAnAssessmentIsReturned(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	f := form(t, b.Get(path), path+"/return")
	want(t, b.Post(path+"/return", with(f, "return-reason", "a lesion is missing")), 400, `href="#return-visits"`, "a lesion is missing</textarea>")
	want(t, b.Post(path+"/return", with(f, "return", "501")), 400, `href="#return-reason"`, `value="501" selected`)
	want(t, b.Post(path+"/return", with(f, "return", "7103", "return-reason", "x")), 404)
	complete := with(f, "return", "501", "return-reason", "a lesion <b>is</b> missing")
	want(t, b.Post(path+"/return", with(complete, "stamp", strings.Repeat("0", 64))), 412, "nothing was returned")
	for range 2 {
		if p := want(t, b.Post(path+"/return", complete), 303); p.Location() != "/assessments/501" {
			t.Errorf("redirected to %q", p.Location())
		}
	}
	p := want(t, b.Get("/assessments/501"), 200, "It was returned to its source.", "a lesion &lt;b&gt;is&lt;/b&gt; missing", "You returned assessment 501 to its source")
	lacks(t, p, "Withdraw Follow-up 1")
	lacks(t, want(t, b.Get(path), 200, "Sign Baseline"), "Follow-up 1")
}

// A sign-off that moves the case to a higher revision takes back what was signed before, and
// the form says so.
func TestAHigherCaseRevisionTakesBack(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	visits := desktest.Agreeing(desktest.Study, 5, "01-704-1008")
	in.Register(visits...)
	_, err := in.Outbox.Accounts().AddPartner(t.Context(), "ops", "acme", "ACME", []string{desktest.Study})
	desktest.OK(t, err)
	before := in.Sign("500", "501")[1].Event
	last := in.Publish(0)
	desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{{Partner: "acme", Study: events.StudyKey(desktest.Study), Delivered: last, Acknowledged: last}}))
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	lacks(t, want(t, b.Get(path), 200, "Nothing to sign"), "Your password")

	next := visits[1]
	next.Case.Revision, next.Conclusion = 2, "Stable Disease"
	in.Register(next)
	page := want(t, b.Get(path), 200, "The case moves from revision 1 to revision 2", "<b>Baseline (500)</b>", "</b> until it is signed in revision 2 too", "contradicts RECIST 1.1")
	p := want(t, b.Post(path+"/sign-off", with(form(t, page, path+"/sign-off"),
		"meaning", desktest.Meaning, "reason.501", "seen twice", "user", desktest.User, "password", desktest.Password)), 303)
	want(t, b.Get(p.Location()), 200, "Follow-up 1 is signed, not published yet", "Not published yet", "seen twice")
	want(t, b.Get(path+"?signed="+before), 200, "Baseline and Follow-up 1 are signed and published", "✓ Acknowledged") // of the event of then
	want(t, b.Get("/assessments/500"), 200, "It was taken back", "Taken back", "was superseded when you signed a higher revision")
	want(t, b.Get("/assessments/501"), 200, "conclusion Partial Response → Stable Disease", "Case revision 2, revision 1")
}

// What the outbox would not sign is not offered.
func TestACaseThatHasMovedOnIsNotOffered(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	visits := desktest.Agreeing(desktest.Study, 5, "01-704-1008")
	visits[1].Case.Revision = 2
	in.Register(visits...)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	page := want(t, b.Get(path+"?sign=all"), 200, "Sign Follow-up 1") // of the highest case revision only
	if f := form(t, page, path+"/sign-off"); !slices.Equal(f["sign"], []string{"501"}) {
		t.Errorf("offered are %v", f["sign"])
	}
	in.Sign("501")
	page = want(t, b.Get(path), 200, "Nothing to sign", "Baseline (500) cannot be signed: it is registered for case revision 1, and the case has moved on to revision 2. Its source has to register it again.")
	lacks(t, page, "Your password")
}

// parked returns an installation whose study is parked, and an event that is not published.
func parked(t *testing.T) (in *desktest.Installation, event string) {
	t.Helper()
	in = desktest.Install(t, desk.Config{})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	event = in.Sign("500")[0].Event
	desktest.OK(t, in.Outbox.Source().Park(t.Context(), events.StudyKey(desktest.Study), "refused by the broker"))
	return in, event
}

func TestAParkedStudyIsNotPublishedYet(t *testing.T) {
	t.Parallel()
	in, event := parked(t)
	b := in.SignedIn(desktest.User)
	want(t, b.Get(pathOfCase("5")), 200, "Publishing of this study is stopped")
	want(t, b.Get(pathOfCase("5")+"?signed="+event), 200, "signed, not published yet", "when the operator has released the study")
}

// A page that cannot read whether the study is parked must not say that what is signed is
// published at once.
func TestAPageThatCannotReadWhatIsParkedSaysNothingOfIt(t *testing.T) {
	t.Parallel()
	in, event := parked(t)
	b := in.SignedIn(desktest.User)
	_, err := in.Outbox.DB().Writer.ExecContext(t.Context(), `alter table parked rename column reason to damaged`)
	desktest.OK(t, err)
	for _, path := range []string{pathOfCase("5"), pathOfCase("5") + "?signed=" + event} {
		lacks(t, want(t, b.Get(path), http.StatusInternalServerError, "Something went wrong"), "at once", "as soon as the broker")
	}
}

// While the clock is wrong nothing is signed, and the page says who can help.
func TestAWrongClockSignsNothing(t *testing.T) {
	t.Parallel()
	clock := desktest.NewClock()
	in := desktest.InstallWith(t, desk.Config{Clock: clock.Now}, outbox.Config{CheckClock: true})
	in.Register(desktest.Agreeing(desktest.Study, 5, "01-704-1008")...)
	in.Sign("500")
	clock.Add(-10 * time.Minute)
	b, path := in.SignedIn(desktest.User), pathOfCase("5")
	f := with(form(t, b.Get(path), path+"/sign-off"), "meaning", desktest.Meaning, "user", desktest.User, "password", desktest.Password)
	want(t, b.Post(path+"/sign-off", f), http.StatusConflict, "the clock of the server is wrong", "The operator of the server can help", "signoff clock accept")
	g := with(form(t, b.Get("/assessments/500"), "/assessments/500/withdrawal"), "meaning", desktest.Meaning, "reason", "x", "user", desktest.User, "password", desktest.Password)
	want(t, b.Post("/assessments/500/withdrawal", g), http.StatusConflict, "the clock of the server is wrong")
	if waiting(t, in) != 1 {
		t.Error("something was signed")
	}
}
