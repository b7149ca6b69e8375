package outbox_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func TestThePlaceOfACaseInTheQueue(t *testing.T) {
	d := newOutbox(t)
	elsewhere := assessment("other", 1, 1, 1)
	elsewhere.Study = "OTHER"
	d.register(elsewhere)
	d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1), assessment("3", 3, 1, 1), assessment("31", 3, 1, 1))
	d.register(assessment("1", 1, 1, 2)) // the first case waits last now
	place := func(of review.CaseOf, studies ...string) review.Place {
		t.Helper()
		return must(d.Reviews().Place(t.Context(), studies, of))(t)
	}
	at := func(number int32) review.CaseOf { return review.CaseOf{Study: study, Number: number} }
	for _, c := range []struct {
		about   string
		of      review.CaseOf
		studies []string
		want    review.Place
	}{
		{"the first", at(2), []string{study}, review.Place{Number: 1, Total: 3, Next: at(3)}},
		{"one in between", at(3), []string{study}, review.Place{Number: 2, Total: 3, Previous: at(2), Next: at(1)}},
		{"the last", at(1), []string{study}, review.Place{Number: 3, Total: 3, Previous: at(3)}},
		{"of several studies", at(2), []string{study, "OTHER"}, review.Place{Number: 2, Total: 4, Previous: review.CaseOf{Study: "OTHER", Number: 1}, Next: at(3)}},
		{"unknown", at(9), []string{study}, review.Place{Total: 3, Next: at(2)}},
		{"of no study", at(2), nil, review.Place{}},
	} {
		if diff := cmp.Diff(c.want, place(c.of, c.studies...)); diff != "" {
			t.Errorf("%s: %s", c.about, diff)
		}
	}
	d.sign("3", "31")
	if diff := cmp.Diff(review.Place{Total: 2, Next: at(2)}, place(at(3), study)); diff != "" {
		t.Errorf("of a case of which nothing waits: %s", diff)
	}
}

func TestHowMuchIsStoredOfACase(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("10", 1, 1, 1), assessment("9", 1, 1, 1), assessment("8", 2, 1, 1))
	d.register(assessment("10", 1, 1, 2))
	d.sign("10")
	d.register(assessment("10", 1, 1, 3))
	d.sign("10")
	must(d.withdrawAs("dr.a", "10", "wrong scan"))(t)
	must(d.Return(t.Context(), outbox.Return{User: "dr.a", ID: "9", Reason: "lesion missed"}))(t)
	got := must(d.Reviews().Counts(t.Context(), review.CaseOf{Study: study, Number: 1}))(t)
	want := []review.Counts{
		{ID: "9", Versions: 1, Returns: 1, Lines: len(must(d.Reviews().Trail(t.Context(), "9", []string{study}))(t))},
		{ID: "10", Versions: 3, Signatures: 2, Withdrawals: 1, Lines: len(must(d.Reviews().Trail(t.Context(), "10", []string{study}))(t))},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := must(d.Reviews().Counts(t.Context(), review.CaseOf{Study: study, Number: 99}))(t); len(got) != 0 {
		t.Errorf("of a case that is not there: %v", got)
	}
}

func TestTheReceptionsOfACaseAreThoseOfItsAssessments(t *testing.T) {
	d := newOutbox(t)
	for _, id := range []string{"acme", "globex"} {
		must(d.Accounts().AddPartner(t.Context(), operator, id, "", []string{study}))(t)
	}
	must(d.Accounts().AddPartner(t.Context(), operator, "stranger", "", []string{"OTHER"}))(t)
	d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1), assessment("3", 1, 1, 1), assessment("4", 2, 1, 1))
	d.sign("1")
	d.sign("2")
	d.sign("4")
	d.record(len(d.pending(1000)) - 1) // all but the last
	last := must(d.Source().Head(t.Context()))(t).StreamSequence
	ok(t, d.Receipts().NoteReceipts(t.Context(), []events.Receipt{{Partner: "acme", Study: events.StudyKey(study), Delivered: last, Acknowledged: last}}))
	got := must(d.Receipts().OfCase(t.Context(), study, 1))(t)
	want := map[string]*receipts.Reception{}
	for _, id := range []string{"1", "2"} {
		r := must(d.Receipts().Reception(t.Context(), id))(t)
		want[id] = &r
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got["2"].Receivers[0].State != receipts.Acknowledged || got["2"].Receivers[1].State != receipts.NotDelivered {
		t.Errorf("receivers %v", got["2"].Receivers)
	}
	if got := must(d.Receipts().OfCase(t.Context(), study, 99))(t); len(got) != 0 {
		t.Errorf("of a case that is not there: %v", got)
	}
}
