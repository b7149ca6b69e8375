package outbox_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func TestVersionsInForce(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("9", 2, 1, 1), assessment("30", 2, 1, 1), assessment("7", 1, 1, 1), assessment("8", 1, 1, 1))
	want := func(filter review.WaitingFilter, lines ...string) {
		t.Helper()
		var got []string
		for _, v := range must(d.Reviews().Check(t.Context(), filter))(t) {
			a := v.Assessment
			got = append(got, fmt.Sprintf("case %d: %s %s, %s", a.Case.ID, a.ID, a.Version(), v.State))
			if len(v.Digest) != 64 || v.Registration == 0 || v.By != source || v.Registered.IsZero() {
				t.Errorf("%+v", v)
			}
		}
		if !slices.Equal(got, lines) {
			t.Errorf("%q, want %q", got, lines)
		}
	}
	want(review.WaitingFilter{Study: study},
		"case 1: 7 case revision 1, revision 1, waiting", "case 1: 8 case revision 1, revision 1, waiting",
		"case 2: 9 case revision 1, revision 1, waiting", "case 2: 30 case revision 1, revision 1, waiting")
	want(review.WaitingFilter{Study: "another"})

	d.sign("7", "8")
	d.register(assessment("7", 1, 2, 1))
	want(review.WaitingFilter{Study: study, Case: 1},
		"case 1: 7 case revision 2, revision 1, waiting", "case 1: 8 case revision 1, revision 1, signed")
	must(d.withdrawAs("dr.a", "8", "reason"))(t)
	want(review.WaitingFilter{Study: study, Case: 1}, "case 1: 7 case revision 2, revision 1, waiting")

	d.letWait(assessment("30", 2, 1, 1))
	d.sign("9")
	other := assessment("9", 2, 1, 2)
	other.Subject = "somebody else"
	d.letWait(other)
	want(review.WaitingFilter{Study: study, Case: 2},
		"case 2: 9 case revision 1, revision 1, signed", "case 2: 30 case revision 1, revision 1, waiting")

	// What waits in a lower case revision than was signed cannot be signed any more.
	d.register(assessment("9", 2, 2, 2))
	d.sign("9")
	want(review.WaitingFilter{Study: study, Case: 2}, "case 2: 9 case revision 2, revision 2, signed")
	d.letWait(assessment("9", 2, 3, 1))
	want(review.WaitingFilter{Study: study, Case: 2}, "case 2: 9 case revision 2, revision 2, signed")
}
