package desk_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
)

// varying are the parts of a page that differ from one test run to the next: the ids of
// events and requests, and the hashes of events.
var varying = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}|[0-9a-f]{4}( [0-9a-f]{4}){3} …`)

// drawing is what a plot has inside; the plots have golden files of their own.
var drawing = regexp.MustCompile(`(?s)(<svg[^>]*>).*?</svg>`)

// Each page, and of a case the forms, is in its states as in its golden file, and well-formed.
// What else a case has is in TestPagesOfTheSamples and TestPagesOfTheStatesOfACase.
func TestPagesAreAsInTheGoldenFiles(t *testing.T) {
	in, _ := install(t)
	const viewer, empty = "lind", "EMPTY-01"
	desktest.OK(t, accountstest.AddPI(t.Context(), in.Outbox.Accounts(), "ops", viewer, "Dr. Eva Lind", []string{empty}, desktest.Password))
	for _, partner := range []string{"acme", "globex"} {
		_, err := in.Outbox.Accounts().AddPartner(t.Context(), "ops", partner, partner, []string{desktest.Study})
		desktest.OK(t, err)
	}
	for _, number := range []int32{4, 5, 6, 7, 8} {
		in.Register(desktest.Agreeing(desktest.Study, number, "1008100"+string('0'+number))...)
	}
	in.Register(case71(71)...)
	published := in.Sign("500", "501")[0].Event
	withdrawn := in.Sign("600", "601")[0].Event
	_, err := in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: desktest.User, ID: "601", Meaning: "I withdraw this assessment.", Reason: "Of another subject."})
	desktest.OK(t, err)
	_, err = in.Outbox.Return(t.Context(), outbox.Return{User: desktest.User, ID: "701", Reason: "Of another subject."})
	desktest.OK(t, err)
	desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{
		{Partner: "acme", Study: key, Delivered: in.Publish(0), Acknowledged: 4},
	}))
	pending := in.Sign("800", "801")[0].Event

	nobody, pi, other, none := in.Browser(), in.SignedIn(desktest.User), in.SignedIn(desktest.OtherUser), in.SignedIn(viewer)
	refused := form(t, pi.Get(pathOf(71)+"?sign=7103"), pathOf(71)+"/sign-off")
	for _, g := range []struct {
		name   string
		status int
		page   desktest.Page
	}{
		{"sign-in", 200, nobody.Get("/sign-in")},
		{"sign-in-idle", 200, nobody.Get("/sign-in?ended=idle")},
		{"sign-in-locked", 200, nobody.Get("/sign-in?ended=lock")},
		{"sign-in-password-changed", 200, nobody.Get("/sign-in?ended=password")},
		{"sign-in-no-cookie", 400, nobody.Get("/sign-in?begun=1")},
		{"sign-in-form-lost", 200, nobody.Get("/sign-in?lost=1")},
		{"sign-in-wrong", 401, nobody.Post("/sign-in", url.Values{"user": {"nobody"}, "password": {"not this one"}})},
		{"sign-in-still-signed-in", 200, pi.Get("/sign-in?ended=idle&next=/waiting")},
		{"password", 200, pi.Get("/password")},
		{"password-not-signed-in", 200, nobody.Get("/password")},
		{"password-refused", 400, none.Post("/password", url.Values{"present": {desktest.Password}, "password": {"password1234"}, "again": {"password1234"}})},
		{"waiting", 200, pi.Get("/waiting")},
		{"waiting-contradictions", 200, pi.Get("/waiting?show=contradictions")},
		{"waiting-none", 200, none.Get("/waiting")},
		{"find-none", 200, pi.Post("/find", url.Values{"subject": {"0"}})},
		{"find-nothing-typed", 400, pi.Post("/find", url.Values{})},
		{"case-form", 200, pi.Get(pathOf(71) + "?sign=7103")},
		{"case-form-refused", 400, pi.Post(pathOf(71)+"/sign-off", refused)},
		{"receipt-published", 200, pi.Get(pathOf(5) + "?signed=" + published)},
		{"receipt-withdrawn", 200, pi.Get(pathOf(6) + "?signed=" + withdrawn)},
		{"receipt-not-published", 200, pi.Get(pathOf(8) + "?signed=" + pending)},
		{"assessment-waiting", 200, pi.Get("/assessments/400")},
		{"assessment-signed", 200, pi.Get("/assessments/501")},
		{"assessment-withdrawn", 200, pi.Get("/assessments/601")},
		{"assessment-returned", 200, pi.Get("/assessments/701")},
		{"signed", 200, pi.Get("/signed")},
		{"signed-none", 200, none.Get("/signed")},
		{"studies", 200, pi.Get("/studies")},
		{"study", 200, pi.Get("/studies/" + key)},
		{"study-empty", 200, none.Get("/studies/" + events.StudyKey(empty))},
		{"history", 200, pi.Get("/history?study=" + url.QueryEscape(desktest.Study))},
		{"history-none", 200, none.Get("/history?study=" + empty)},
		{"not-found", 404, other.Get(pathOf(71))},
		{"method-not-allowed", 405, pi.Get("/sign-out")},
	} {
		t.Run(g.name, func(t *testing.T) {
			if g.page.Status != g.status {
				t.Fatalf("status %d, want %d\n%s", g.page.Status, g.status, g.page.Body)
			}
			wellFormed(t, g.page)
			file := filepath.Join("testdata", "pages", g.name+".html")
			_, body, _ := strings.Cut(g.page.Main(), ">\n")
			if _, aside, ok := strings.Cut(body, "<aside"); ok {
				body = "<aside" + aside // the rest is in the golden files of cases
			}
			got := strings.TrimSpace(varying.ReplaceAllString(drawing.ReplaceAllString(body, "$1</svg>"), "…")) + "\n"
			if *update {
				desktest.OK(t, os.MkdirAll(filepath.Dir(file), 0o750))
				desktest.OK(t, os.WriteFile(file, []byte(got), 0o600))
			}
			want, err := os.ReadFile(file)
			desktest.OK(t, err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("differs from %s: %s", file, diff)
			}
		})
	}
}
