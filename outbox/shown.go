package outbox

import (
	"context"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// OfCase names a case: that of an assessment, or else one of a study by its number.
type OfCase struct {
	Assessment string // id; empty to name the case
	review.CaseOf
}

// Receipt is the answer to a sign-off with what is stored beside it. In an answer that is
// returned again, the review.Receipt is empty: Reviews.Receipt reads it.
type Receipt struct {
	Signed
	review.Receipt
}

// answersOf returns the answers of receipts; nil for none.
func answersOf(receipts []Receipt) (answers []Signed) {
	for _, r := range receipts {
		answers = append(answers, r.Signed)
	}
	return answers
}

// SignOffShown signs assessments of one case as SignOff does, but what it signs is decided
// in its transaction: it reads the case and calls decide, which compares the case with
// what the PI was shown. So nothing has to be read before the transaction to be compared
// in it again. The answers are receipts, so that a caller who shows them does not read
// again what was just written.
//
// Decide must be quick, because all other writers wait for it, and it must not use the
// outbox. If it returns an error, nothing is signed, and the refusal is audited with the
// user, the meaning and the ids of the sign-off that it returns beside. It is not called,
// and nothing is audited, if there is no such case: then the error is NotFound.
func (o *Outbox) SignOffShown(ctx context.Context, of OfCase, decide func(review.Case) (SignOff, error)) ([]Receipt, error) {
	start := time.Now()
	var s SignOff
	var receipts []Receipt
	var read, decided bool
	err := o.update(ctx, "sign off", func(tx *transaction) error {
		c, err := o.reviews.ToSign(tx, of.Assessment, of.CaseOf)
		if err != nil {
			return err
		}
		read = true
		if s, err = decide(c); err != nil {
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		decided = true
		receipts, err = tx.signShown(s, c)
		return err
	})
	if err != nil && read {
		err = o.RecordRefusal(ctx, s, err)
	}
	if err != nil {
		receipts = nil
	} else {
		o.step("committed")
	}
	if decided {
		o.counters.signed(len(receipts), err, time.Since(start))
	}
	return receipts, err
}

// signShown signs what s asks for of the case c, which was read in this transaction.
func (tx *transaction) signShown(s SignOff, c review.Case) ([]Receipt, error) {
	p := prepared{versions: make(map[string]preparedVersion), stamp: c.Stamp}
	ids := slices.Compact(slices.Sorted(slices.Values(s.IDs))) // each once
	for _, v := range c.Visits {
		if w := v.Waiting; w != nil {
			p.versions[v.ID] = preparedVersion{w.Registration, w.Assessment, w.Digest}
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(c.Visits, func(v review.Visit) bool { return v.ID == id }) {
			return nil, events.Errorf(events.Conflict, "assessment %s is not one of case %d of study %s; sign each case by itself", id, c.Number, c.Study)
		}
	}
	return tx.signCase(s, ids, p)
}
