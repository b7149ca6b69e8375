package desk_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk"
	"github.com/seed-e88a4ece/signoff/outbox/desk/desktest"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
	"github.com/seed-e88a4ece/signoff/outbox/intake/sdtm"
)

func TestWhatThePISigned(t *testing.T) {
	t.Parallel()
	in, clock := installQueue(t)
	accs := in.Outbox.Accounts()
	for _, partner := range []string{"acme", "borealis"} {
		_, err := accs.AddPartner(t.Context(), "ops", partner, partner, []string{desktest.Study})
		desktest.OK(t, err)
	}
	clock.Add(time.Hour)
	in.Sign("7103")
	_, err := in.Outbox.Withdraw(t.Context(), outbox.Withdrawal{User: desktest.User, ID: "6100", Meaning: "I withdraw it.", Reason: "wrong <b>scan</b>"})
	desktest.OK(t, err)
	in.Sign("2304", "1101")
	b := in.SignedIn(desktest.User)
	sequence := in.Publish(1)
	desktest.OK(t, in.Outbox.Receipts().NoteReceipts(t.Context(), []events.Receipt{
		{Partner: "acme", Study: events.StudyKey(desktest.Study), Delivered: sequence, Acknowledged: sequence, At: clock.Now()},
	}))
	p := b.Get("/signed")
	checkPage(t, p)
	const by = " Dr. Ana Rivera: " + desktest.Meaning + " "
	want := []string{
		"1001 FHIR-T · case 11 Follow-up 1 assessment 1101, case revision 1, revision 2 2026-02-21 11:06 UTC" + by + "SD event 8 not published yet In force",
		"01-701-1239 CDISC/PILOT01 · case 23 Follow-up 4 assessment 2304, case revision 1, revision 1 2026-02-21 11:06 UTC" + by + "PR event 28 published; acknowledged by 1 of 2 partners In force",
		"01-704-1127 CDISC/PILOT01 · case 71 Follow-up 3 assessment 7103, case revision 1, revision 1 2026-02-21 11:06 UTC" + by + "PR event 25 published; acknowledged by 1 of 2 partners In force",
		"01-709-1001 CDISC/PILOT01 · case 40 Baseline assessment 4000, case revision 2, revision 2 2026-02-20 08:06 UTC" + by + "No event 23 published; acknowledged by 1 of 2 partners In force",
		"01-709-1001 CDISC/PILOT01 · case 40 Follow-up 1 assessment 4001, case revision 1, revision 1 2026-02-20 08:06 UTC" + by + "SD event 20 published; acknowledged by 1 of 2 partners Superseded the case was signed in a higher revision",
		"01-709-1001 CDISC/PILOT01 · case 40 Baseline assessment 4000, case revision 1, revision 1 2026-02-20 08:06 UTC" + by + "No event 18 published; acknowledged by 1 of 2 partners Amended a later version was signed",
		hostile + " T<b>&3 · case 1 Baseline assessment 100, case revision 1, revision 1 2026-02-20 08:06 UTC" + by + "No event 2 published; no partner subscribes to the study In force",
	}
	rows := rowsOf(t, p)
	if diff := cmp.Diff(want, rows[:len(want)]); diff != "" {
		t.Error(diff)
	}
	withdrawn := "01-704-1008 CDISC/PILOT01 · case 61 Baseline assessment 6100, case revision 1, revision 1 2026-02-15 10:06 UTC" + by +
		"No event 8 published; acknowledged by 1 of 2 partners Withdrawn 2026-02-21 11:06 UTC by Dr. Ana Rivera: wrong <b>scan</b>"
	if len(rows) != 18 || rows[14] != withdrawn {
		t.Errorf("%d rows; %s", len(rows), rows[14])
	}
	if link(p, "Follow-up 4") != "/assessments/2304" || !strings.HasPrefix(link(p, "event 28"), "/cases/"+events.StudyKey(desktest.Study)+"/23?signed=") {
		t.Errorf("links to %q and %q", link(p, "Follow-up 4"), link(p, "event 28"))
	}
	if rows := rowsOf(t, b.Get("/signed?study=FHIR-T")); len(rows) != 4 {
		t.Errorf("of one study: %q", rows)
	}
	t.Run("stays readable after the grant was revoked", func(t *testing.T) {
		desktest.OK(t, accs.RevokePI(t.Context(), "ops", desktest.User, desktest.Study))
		p := b.Get("/signed")
		checkPage(t, p)
		rows := rowsOf(t, p)
		if len(rows) != 18 || !strings.HasPrefix(rows[2], "01-704-1127 CDISC/PILOT01 · case 71 not granted to you any more Follow-up 3 ") {
			t.Errorf("%d rows; %s", len(rows), rows[2])
		}
		links := regexp.MustCompile(`href="/cases/`+regexp.QuoteMeta(events.StudyKey(desktest.Study))+`/(\d+[^"]*)"`).FindAllStringSubmatch(p.Body, -1)
		for _, link := range links {
			if !strings.Contains(link[1], "?signed=") {
				t.Errorf("the page leads to what is not granted: %s", link[1])
			}
		}
		if strings.Contains(p.Body, "/assessments/7103") {
			t.Error("the page leads to what is not granted")
		}
		if len(links) == 0 {
			t.Fatal("the page leads to no receipt")
		}
		receipt := b.Get("/cases/" + events.StudyKey(desktest.Study) + "/" + html.UnescapeString(links[0][1]))
		if receipt.Status != http.StatusOK || !strings.Contains(receipt.Body, "Follow-up 4 is signed") {
			t.Errorf("the receipt: %d\n%s", receipt.Status, receipt.Body)
		}
		if p := b.Get("/signed?study=" + url.QueryEscape(desktest.Study)); p.Status != http.StatusNotFound {
			t.Errorf("of the study: %d", p.Status)
		}
	})
	t.Run("nothing was signed", func(t *testing.T) {
		p := in.SignedIn(desktest.OtherUser).Get("/signed")
		checkPage(t, p)
		if !strings.Contains(p.Body, "You signed nothing yet.") {
			t.Errorf("%d\n%s", p.Status, p.Body)
		}
	})
}

// More is signed between the pages.
func TestPagesOfWhatWasSignedHoldStill(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	var want []string
	sign := func(n int32) {
		subject := fmt.Sprintf("S-%d", n)
		in.Register(followed(desktest.Study, n, subject, 50)...)
		in.Sign(fmt.Sprintf("%d00", n))
		want = append([]string{subject}, want...)
	}
	for n := int32(1); n <= 52; n++ {
		sign(n)
	}
	b := in.SignedIn(desktest.User)
	var got []string
	count := 0
	for path := "/signed"; path != "" && count < mostPages; count++ {
		p := b.Get(path)
		for _, row := range rowsOf(t, p) {
			subject, _, _ := strings.Cut(row, " ")
			got = append(got, subject)
		}
		path = link(p, "Next page")
		if count == 0 {
			all := want
			sign(53)
			want = all
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || count != 2 {
		t.Errorf("%d pages; %s", count, diff)
	}
}

func TestStudies(t *testing.T) {
	t.Parallel()
	in, _ := installQueue(t)
	b := in.SignedIn(desktest.User)
	desktest.OK(t, in.Outbox.Accounts().GrantPI(t.Context(), "ops", desktest.User, "EMPTY"))
	p := b.Get("/studies")
	checkPage(t, p)
	want := []string{
		"CDISC/PILOT01 4 4 cases of CDISC/PILOT01 wait 10 9", "EMPTY 0 0 0 0", "FHIR-T 3 3 cases of FHIR-T wait 3 3", "T<b>&3 1 1 cases of T<b>&3 wait 1 1",
	}
	if diff := cmp.Diff(want, rowsOf(t, p)); diff != "" {
		t.Error(diff)
	}
	t.Run("one of them", func(t *testing.T) {
		p := b.Get(link(b.Get("/studies"), desktest.Study))
		checkPage(t, p)
		for _, part := range []string{
			"4 cases · 4 assessments of 4 cases wait · 10 assessments signed, 9 in force at partners",
			"3 of 4 evaluable", "3 of 4 cases", "at 9 follow-ups, signed or waiting",
			"PR Partial Response 5 4", "SD Stable Disease 3 2", "PD Progressive Disease 1 2", "NE Not Evaluable 0 1",
			"the recorded response is another than RECIST 1.1 gives contradiction 2",
			"01-704-1127 case 71 Follow-up 3 waits PR Partial Response is recorded, RECIST 1.1 gives Progressive Disease: the sum is 50 mm",
		} {
			if !strings.Contains(strings.ReplaceAll(text(p.Body)+text(svgText(p.Body)), "  ", " "), part) {
				t.Errorf("the page lacks %q", part)
			}
		}
		if n := strings.Count(p.Body, "<svg "); n != 5 { // with the mark of the desk
			t.Errorf("%d plots", n)
		}
	})
	t.Run("one with hostile texts", func(t *testing.T) {
		p := b.Get("/studies/" + events.StudyKey(third))
		checkPage(t, p)
		if p.Status != http.StatusOK || !strings.Contains(p.Body, "&lt;script&gt;alert(1)") {
			t.Errorf("%d", p.Status)
		}
	})
	t.Run("one in which nothing is registered", func(t *testing.T) {
		p := b.Get("/studies/" + events.StudyKey("EMPTY"))
		checkPage(t, p)
		if p.Status != http.StatusOK || !strings.Contains(p.Body, "Nothing is registered for this study yet.") {
			t.Errorf("%d\n%s", p.Status, p.Body)
		}
	})
	t.Run("one that is not granted, and one that does not exist", func(t *testing.T) {
		in.Register(followed(desktest.Other, 9, "other", 50)...)
		one, other := b.Get("/studies/"+events.StudyKey(desktest.Other)), b.Get("/studies/NONE")
		if one.Status != http.StatusNotFound || text(one.Body) != text(other.Body) {
			t.Errorf("%d and %d", one.Status, other.Status)
		}
	})
	t.Run("none is granted", func(t *testing.T) {
		desktest.OK(t, in.Outbox.Accounts().RevokePI(t.Context(), "ops", desktest.OtherUser, desktest.Other))
		p := in.SignedIn(desktest.OtherUser).Get("/studies")
		checkPage(t, p)
		if !strings.Contains(p.Body, "No study is granted to you.") {
			t.Errorf("%s", p.Body)
		}
	})
	t.Run("the SDTM set", func(t *testing.T) {
		desktest.OK(t, in.Outbox.Accounts().GrantPI(t.Context(), "ops", desktest.User, "CDISCPILOT01"))
		in.Register(sdtmCases(t, "CDISCPILOT01")...)
		p := b.Get("/studies/" + events.StudyKey("CDISCPILOT01"))
		checkPage(t, p)
		for _, part := range []string{"at 633 follow-ups", "the recorded response is another than RECIST 1.1 gives contradiction 35", "Progressive Disease 387 414"} {
			if !strings.Contains(text(p.Body), part) {
				t.Errorf("the page lacks %q", part)
			}
		}
	})
}

// svgText returns the texts of the plots of a page.
func svgText(body string) string {
	return strings.NewReplacer("<svg", "<div", "</svg", "</div").Replace(body)
}

func TestHistoryOfStudies(t *testing.T) {
	t.Parallel()
	in, _ := installQueue(t)
	accs := in.Outbox.Accounts()
	in.Register(followed(desktest.Other, 9, "other-subject", 50)...)
	desktest.OK(t, accs.SessionBegan(t.Context(), desktest.OtherUser, "", "203.0.113.9"))
	_, err := in.Outbox.SignOff(outbox.WithAddress(t.Context(), "203.0.113.9"), outbox.SignOff{User: desktest.User, Meaning: desktest.Meaning, IDs: []string{"4001"}})
	if err == nil {
		t.Fatal("a version was signed that cannot be")
	}
	_, err = in.Outbox.Return(t.Context(), outbox.Return{User: desktest.User, ID: "1201", Reason: "lesion <b>missing</b>"})
	desktest.OK(t, err)
	desktest.OK(t, accs.GrantPI(t.Context(), "ops", desktest.OtherUser, "FHIR-T"))
	both := in.SignedIn(desktest.OtherUser)
	if _, err := in.Outbox.Withdraw(outbox.WithAddress(t.Context(), "203.0.113.9"), outbox.Withdrawal{User: desktest.OtherUser, ID: "1100", Meaning: "I withdraw it.", Reason: hostile}); err != nil {
		t.Fatal(err)
	}
	desktest.OK(t, accs.RevokePI(t.Context(), "ops", desktest.OtherUser, "FHIR-T"))
	b := in.SignedIn(desktest.User)
	p := b.Get("/history")
	checkPage(t, p)
	rows := rowsOf(t, p)
	var first []string
	for _, row := range rows[:7] {
		_, row, _ = strings.Cut(row, "UTC line ")
		_, row, _ = strings.Cut(row, " ")
		what, _, _ := strings.Cut(row, " Details ")
		first = append(first, what)
	}
	want := []string{
		"You signed in",
		"ops revoked the grant of the PI okafor",
		"okafor withdrew Baseline of case 11, event 7: " + hostile + " assessment 1100",
		"ops granted the study to the PI okafor",
		"You returned Follow-up 1 of case 12 to its source: lesion <b>missing</b> assessment 1201",
		"A sign-off by you was refused: " + refusal(rows[5]) + " assessment 4001",
		"You signed Baseline of case 40, event 23 assessment 4000",
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"other-subject", desktest.Other, "assessment 900", "$argon2id", in.Server.Listener.Addr().String()} {
		if strings.Contains(p.Body, part) {
			t.Errorf("the page has %q", part)
		}
	}
	if n := strings.Count(p.Body, "203.0.113.9"); n != 1 { // of the PI's own line
		t.Errorf("the page has the address %d times", n)
	}
	if rows := rowsOf(t, b.Get("/history?study=FHIR-T")); strings.Contains(strings.Join(rows, "\n"), "your account") || len(rows) == 0 {
		t.Errorf("of one study: %q", rows)
	}
	if p := b.Get("/history?study=" + desktest.Other); p.Status != http.StatusNotFound {
		t.Errorf("of a study that is not granted: %d", p.Status)
	}
	t.Run("of a study about which nothing is recorded", func(t *testing.T) {
		desktest.OK(t, accs.AddPI(t.Context(), "ops", "dr.new", "Dr. New", []string{"NEW"}, "a password that an operator set"))
		desktest.OK(t, accs.ChoosePassword(t.Context(), "dr.new", "a password that an operator set", desktest.Password, "local"))
		p := in.SignedIn("dr.new").Get("/history?study=NEW")
		checkPage(t, p)
		if !strings.Contains(p.Body, "Nothing is recorded yet.") {
			t.Errorf("%d %s", p.Status, text(p.Body))
		}
	})
	t.Run("of the account alone", func(t *testing.T) {
		desktest.OK(t, accs.RevokePI(t.Context(), "ops", desktest.OtherUser, desktest.Other))
		p := both.Get("/history")
		checkPage(t, p)
		for _, row := range rowsOf(t, p) {
			if !strings.Contains(row, "your account") {
				t.Errorf("%s", row)
			}
		}
	})
	t.Run("pages, with more lines written between", func(t *testing.T) {
		var many []events.Assessment
		for n := range int32(40) {
			many = append(many, followed("FHIR-T", 500+n, "many", 50, 30, 31)...)
		}
		in.Register(many...)
		var numbers []string
		for path, n := "/history?study=FHIR-T", 0; path != "" && n < mostPages; n++ {
			p := b.Get(path)
			for _, row := range rowsOf(t, p) {
				_, number, _ := strings.Cut(row, "UTC line ")
				number, _, _ = strings.Cut(number, " ")
				numbers = append(numbers, number)
			}
			path = link(p, "Next page")
			in.Register(followed("FHIR-T", int32(5000+len(numbers)), "more", 50)...)
		}
		var want []string
		last, err := strconv.ParseInt(numbers[0], 10, 64)
		desktest.OK(t, err)
		desktest.OK(t, in.Outbox.Audit(t.Context(), outbox.AuditFilter{Study: "FHIR-T", Before: last + 1}, func(e outbox.AuditEntry) error {
			want = append([]string{fmt.Sprint(e.Number)}, want...)
			return nil
		}))
		if diff := cmp.Diff(want, numbers); diff != "" {
			t.Error(diff)
		}
	})
}

// refusal returns the message of a refusal in a row.
func refusal(row string) string {
	_, message, _ := strings.Cut(row, "was refused: ")
	message, _, _ = strings.Cut(message, " assessment 4001 Details")
	return message
}

// sdtmCases returns the assessments of the SDTM set, by case.
func sdtmCases(t testing.TB, study string) (all []events.Assessment) {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"tr.csv", "tu.csv", "rs.csv"} {
		f, err := os.Open(filepath.Join("../intake/sdtm/testdata", name+".gz"))
		desktest.OK(t, err)
		defer f.Close()
		z, err := gzip.NewReader(f)
		desktest.OK(t, err)
		data, err := io.ReadAll(z)
		desktest.OK(t, err)
		files[name] = &fstest.MapFile{Data: data}
	}
	err := sdtm.ReadFrom(t.Context(), files, "", sdtm.Options{CaseOffset: 1000}, noVisits{}, func(r intake.Record) error {
		if r.Err == nil {
			a := r.Submission.Assessment
			a.Study = study
			all = append(all, a)
		}
		return nil
	})
	desktest.OK(t, err)
	return all
}

// noVisits is a registry without assessments.
type noVisits struct{}

func (noVisits) Visits(context.Context, string) ([]events.KnownVisit, error) { return nil, nil }

func (noVisits) VisitsByID(context.Context, []string) (map[string]events.KnownVisit, error) {
	return nil, nil
}

// What an assessment was in another study, before it was moved, is that study's.
func TestAMovedAssessmentShowsNothingOfItsFormerStudy(t *testing.T) {
	t.Parallel()
	in := desktest.Install(t, desk.Config{})
	a := desktest.Agreeing(desktest.Other, 5, "other-subject")[0]
	in.Register(a)
	moved := desktest.Agreeing(desktest.Study, 6, "01-704-1008")[0]
	moved.ID, moved.Revision = a.ID, 2
	in.Register(moved)
	b := in.SignedIn(desktest.User)
	p := want(t, b.Get("/assessments/"+a.ID), 200, "01-704-1008")
	lacks(t, p, "other-subject", desktest.Other, "assessment.moved")
	if p := in.SignedIn(desktest.OtherUser).Get("/assessments/" + a.ID); p.Status != http.StatusNotFound {
		t.Errorf("in its former study: %d", p.Status)
	}
	desktest.OK(t, in.Outbox.Accounts().GrantPI(t.Context(), "ops", desktest.User, desktest.Other))
	want(t, b.Get("/assessments/"+a.ID), 200, "other-subject", "assessment.moved") // granted both
}
