package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// ShownCase names the case that a PI was shown: that of an assessment, or else one of a study
// by its number.
type ShownCase struct {
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
// Decide must be quick, because all other writers wait for it, and it must neither read nor
// write the outbox. If it returns an error, nothing is signed, and the refusal is audited
// with the user, the meaning and the ids of the sign-off that it returns with the error. If
// there is no such case, decide is not called, nothing is audited, and the error is NotFound.
func (o *Outbox) SignOffShown(ctx context.Context, of ShownCase, decide func(review.Case) (SignOff, error)) ([]Receipt, error) {
	start := time.Now()
	receipts, err := o.signOffShown(ctx, of, decide, nil, start)
	if !errors.Is(err, errNotDecoded) {
		return receipts, err
	}
	// Others must not wait while much is decoded, so that is done before the transaction.
	decoded, err := o.decodeCase(ctx, of)
	if err != nil {
		return nil, err
	}
	return o.signOffShown(ctx, of, decide, decoded, start)
}

// errNotDecoded ends a transaction in which a content would have to be decoded.
var errNotDecoded = errors.New("a version of the case is not decoded yet")

// decodeCase returns the assessments of a case, decoded, by their digests. It also makes the
// check of the case, which is remembered.
func (o *Outbox) decodeCase(ctx context.Context, of ShownCase) (map[string]events.Assessment, error) {
	var c review.Case
	var err error
	if of.Assessment != "" {
		c, _, err = o.reviews.Assessment(ctx, of.Assessment)
	} else {
		c, err = o.reviews.Case(ctx, of.Study, of.Number)
	}
	o.reviews.CheckOf(c)
	decoded := make(map[string]events.Assessment)
	for _, v := range c.Visits {
		for _, version := range []*review.Version{v.Waiting, v.Signed} {
			if version != nil {
				decoded[version.Digest] = version.Assessment
			}
		}
	}
	return decoded, err
}

// signOffShown is SignOffShown with the contents that are decoded already. If decoded is nil
// and one is not remembered, the error is errNotDecoded, and nothing was decided.
func (o *Outbox) signOffShown(ctx context.Context, of ShownCase, decide func(review.Case) (SignOff, error), decoded map[string]events.Assessment, start time.Time) ([]Receipt, error) {
	decode := func(content []byte) (a events.Assessment, digest string, err error) {
		digest = stored.Digest(content)
		a, ok := decoded[digest]
		if !ok {
			a, ok = o.contents.Remembered(digest)
		}
		switch {
		case ok:
			return a, digest, nil
		case decoded == nil:
			return a, digest, errNotDecoded
		}
		return o.contents.Decode(content) // it was registered just now
	}
	var s SignOff
	var receipts []Receipt
	var read, decided bool
	err := o.update(ctx, "sign off", func(tx *transaction) error {
		c, err := o.reviews.ToSign(tx, decode, of.Assessment, of.CaseOf)
		if err != nil {
			return err
		}
		read = true
		if s, err = decide(c); err != nil {
			return err
		}
		decided = true
		if err := s.check(); err != nil {
			return err
		}
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

// signCase signs the waiting versions of assessments of one case. Where nothing waits,
// or the version signed last is the expected one, it signs nothing and returns the
// answer to the first sign-off again. Answers to sign-offs of before come first.
func (tx *transaction) signCase(s SignOff, ids []string, prepared prepared) ([]Receipt, error) {
	var answers []Receipt
	var first *candidate
	var toSign []*candidate
	for _, id := range ids {
		c, err := tx.load(id, s.User)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(s.User, s.Credential); err != nil {
			return nil, err
		}
		if first == nil {
			first = c
		}
		if c.studyRow != first.studyRow || c.number != first.number {
			// The cases were looked up before the transaction.
			return nil, events.Errorf(events.Conflict, "assessment %s was moved to case %d of study %s just now; sign again", c.id, c.number, c.study)
		}
		waits, err := tx.meansWaiting(s, c, prepared)
		if err != nil {
			return nil, err
		}
		if waits {
			toSign = append(toSign, c)
			continue
		}
		answer, err := tx.firstAnswer(c, s)
		if err != nil {
			return nil, err
		}
		answers = append(answers, Receipt{Signed: answer})
	}
	if len(toSign) == 0 {
		return answers, nil
	}
	signed, err := tx.signWaiting(s, toSign, prepared)
	return append(answers, signed...), err
}

// signWaiting signs the waiting versions of candidates of one case. It appends the
// events of the reports that they supersede, by id, and then their own events, by
// timepoint, then id.
func (tx *transaction) signWaiting(s SignOff, toSign []*candidate, prepared prepared) ([]Receipt, error) {
	if err := tx.checkStamp(s, toSign[0], prepared); err != nil {
		return nil, err
	}
	revision, err := tx.accept(toSign)
	if err != nil {
		return nil, err
	}
	for _, c := range toSign {
		p, err := tx.readWaiting(c, prepared)
		if err != nil {
			return nil, err
		}
		c.assessment, c.digest = p.assessment, p.digest
		if err := c.refuseOtherSubject(); err != nil {
			return nil, err
		}
	}
	if err := tx.checkTime(); err != nil {
		return nil, err
	}
	slices.SortFunc(toSign, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.assessment.Timepoint, b.assessment.Timepoint), stored.CompareIDs(a.id, b.id))
	})
	chain := toSign[0].chain // each candidate has opened the same one
	chain.TraceParent = s.TraceParent
	_, moment := chain.Next() // all signatures have one time, though each event has its own
	signature := events.Signature{User: s.User, Name: toSign[0].signer, Meaning: s.Meaning, Time: moment}

	tx.o.step("accepted")
	if revision > toSign[0].caseRevision {
		if err := tx.raiseCase(chain, s.User, toSign, revision); err != nil {
			return nil, err
		}
	}
	answers := make([]Receipt, 0, len(toSign))
	for _, c := range toSign {
		answer, err := tx.publish(chain, c, signature, s)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
		tx.o.step("published")
	}
	return answers, chain.Close()
}

// checkStamp returns a Stale Error if the sign-off has a stamp and the case of c has
// another one by now.
func (tx *transaction) checkStamp(s SignOff, c *candidate, prepared prepared) error {
	if s.Stamp == "" || s.Stamp == prepared.stamp {
		return nil
	}
	stamp, err := review.StampOf(context.Background(), tx, c.studyRow, c.number, c.subject, c.caseRevision)
	if err != nil || stamp == s.Stamp {
		return err
	}
	return events.Errorf(events.Stale, "case %d of study %s has changed since it was read, and nothing was signed; read it again", c.number, c.study)
}

// publish appends the events of one signed assessment and stores its state.
func (tx *transaction) publish(chain *ledger.Chain, c *candidate, signature events.Signature, s SignOff) (Receipt, error) {
	report := fhir.Report{Assessment: c.assessment, Signature: signature}
	if len(c.assessment.Lesions) > 0 {
		if err := appendObservations(chain, c, report); err != nil {
			return Receipt{}, err
		}
		tx.o.step("observations")
	}
	kind := events.ReportSigned
	if c.signed != 0 {
		kind = events.ReportAmended
	}
	e, row, err := appendReport(chain, kind, c, report)
	if err != nil {
		return Receipt{}, err
	}
	if err := tx.storeSigned(c, signature, row); err != nil {
		return Receipt{}, err
	}
	remark := s.Remarks[c.id]
	err = tx.Audit(ledger.Line{
		Time: signature.Time, Actor: signature.User, Action: actionSigned, Study: c.study, Subject: c.id,
		Version: c.waiting, Detail: signedDetail{
			signature.Meaning, c.digest, e.Number, e.ID, c.resetBefore(signature), remark.Reason, remark.Findings, s.Channel,
		},
	})
	return Receipt{
		c.answer(e, c.waitingVersion, signature),
		review.Receipt{Hash: e.Hash, Reason: remark.Reason, Findings: append([]string{}, remark.Findings...)},
	}, err
}

// signedDetail is stored in the audit trail with a sign-off.
type signedDetail struct {
	Meaning  string `json:"meaning"`
	Digest   string `json:"digest"` // of the version's content
	Sequence uint64 `json:"sequence"`
	Event    string `json:"event"`
	Reset    string `json:"passwordReset,omitempty"` // within 72 hours before

	Reason   string   `json:"reason,omitempty"`   // why it is signed although the findings contradict it
	Findings []string `json:"findings,omitempty"` // as the PI was shown them
	Channel  string   `json:"channel,omitempty"`
}

// storeSigned stores the signature of the waiting version and makes it the signed and
// available one. Event is the events.row of its report.
func (tx *transaction) storeSigned(c *candidate, s events.Signature, event int64) error {
	_, err := tx.Exec(`
		insert into signatures (version, "user", name, meaning, time, event, digest)
		values (?, ?, ?, ?, ?, ?, ?)`,
		c.waiting, s.User, s.Name, s.Meaning, events.FormatTime(s.Time), event, c.digest)
	if err != nil {
		return fmt.Errorf("store signature: %w", err)
	}
	result, err := tx.Exec(`
		update assessments
		set waiting = null, signed = ?, published = ?, available = 1
		where id = ? and waiting = ?`, c.waiting, event, c.id, c.waiting)
	if err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	return ledger.MustChangeOne(result, "store state")
}

// appendReport encodes the report with the number and time of the next event,
// and appends that event.
func appendReport(chain *ledger.Chain, kind events.Kind, c *candidate, report fhir.Report) (events.Event, int64, error) {
	report.Version, report.LastUpdated = chain.Next()
	body, err := report.Encode()
	if err != nil {
		return events.Event{}, 0, fmt.Errorf("write report: %w", err)
	}
	return chain.Append(kind, events.ReportSubject(c.id, report.Version), c.partition(), body)
}

// appendObservations appends an event with the observations of the report's lesions.
// The caller appends the report next, so the event's subject names the number after
// its own.
func appendObservations(chain *ledger.Chain, c *candidate, report fhir.Report) error {
	report.Version, report.LastUpdated = chain.Next()
	body, err := report.EncodeObservations()
	if err != nil {
		return fmt.Errorf("write observations: %w", err)
	}
	_, _, err = chain.Append(events.ObservationsSigned, events.ReportSubject(c.id, report.Version+1), c.partition(), body)
	return err
}

// partition returns the part of the event's partition key that names the case.
func (c *candidate) partition() string { return fmt.Sprint(c.number) }

// answer returns the answer for a version of the candidate that the event publishes.
func (c *candidate) answer(e events.Event, version events.Version, signature events.Signature) Signed {
	return Signed{
		ID: c.id, Study: c.study, Case: c.number, Version: version,
		Kind: e.Kind(), Event: e.ID, Sequence: e.Number, Time: e.Time, Signature: signature, Digest: c.digest,
	}
}
