package outbox

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// signCase signs the waiting versions of assessments of one case. For those that
// were signed before, by the same PI with the same meaning, it returns the first
// answer again, if nothing waits or the signed version is the expected one.
func (tx *transaction) signCase(s SignOff, ids []string, prepared map[string]preparedVersion) ([]Signed, error) {
	var answers []Signed
	var first *candidate
	var fresh []*candidate
	for _, id := range ids {
		c, err := tx.load(id, s.User)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(s.User); err != nil {
			return nil, err
		}
		if first == nil {
			first = c
		}
		if c.studyRow != first.studyRow || c.number != first.number {
			return nil, events.Errorf(events.Conflict, "assessment %s was moved to case %d of study %s just now; sign again", c.id, c.number, c.study)
		}
		waits, err := tx.meansWaiting(s, c)
		if err != nil {
			return nil, err
		}
		if waits {
			fresh = append(fresh, c)
			continue
		}
		answer, err := tx.repeat(c, s)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	if len(fresh) == 0 {
		return answers, nil
	}
	signed, err := tx.signFresh(s, fresh, prepared)
	return append(answers, signed...), err
}

// signFresh signs candidates of one case that all have a waiting version: first
// what they supersede, by id, then they themselves, by timepoint, then id.
func (tx *transaction) signFresh(s SignOff, fresh []*candidate, prepared map[string]preparedVersion) ([]Signed, error) {
	revision, err := tx.accept(fresh)
	if err != nil {
		return nil, err
	}
	for _, c := range fresh {
		if err := c.read(tx, prepared); err != nil {
			return nil, err
		}
		if err := c.sameSubject(); err != nil {
			return nil, err
		}
	}
	if err := tx.checkTime(); err != nil {
		return nil, err
	}
	slices.SortFunc(fresh, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.assessment.Timepoint, b.assessment.Timepoint), compareIDs(a.id, b.id))
	})
	chain := fresh[0].chain
	chain.TraceParent = s.TraceParent
	_, moment := chain.Next() // one act, one moment, whatever the number of events
	signature := events.Signature{User: s.User, Name: fresh[0].signer, Meaning: s.Meaning, Time: moment}

	tx.o.step("accepted")
	if revision > fresh[0].caseRevision {
		if err := tx.raiseCase(chain, s.User, fresh, revision); err != nil {
			return nil, err
		}
	}
	answers := make([]Signed, 0, len(fresh))
	for _, c := range fresh {
		answer, err := tx.publish(chain, c, signature)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
		tx.o.step("published")
	}
	return answers, chain.Close()
}

// publish appends the events of one signed assessment and stores its state.
func (tx *transaction) publish(chain *ledger.Chain, c *candidate, signature events.Signature) (Signed, error) {
	report := fhir.Report{Assessment: c.assessment, Signature: signature}
	if len(c.assessment.Lesions) > 0 {
		if err := appendObservations(chain, c, report); err != nil {
			return Signed{}, err
		}
		tx.o.step("observations")
	}
	kind := events.ReportSigned
	if c.signed != 0 {
		kind = events.ReportAmended
	}
	e, row, err := appendReport(chain, kind, c, report)
	if err != nil {
		return Signed{}, err
	}
	if err := tx.storeSigned(c, signature, row); err != nil {
		return Signed{}, err
	}
	err = tx.Audit(ledger.Line{
		Time: signature.Time, Actor: signature.User, Action: actionSigned, Study: c.study, Subject: c.id,
		Version: c.waiting, Detail: signedDetail{signature.Meaning, c.digest, e.Number, e.ID, c.resetBefore(signature)},
	})
	return c.answer(e, c.waitingVersion, signature), err
}

// signedDetail is stored in the audit trail with a sign-off.
type signedDetail struct {
	Meaning  string `json:"meaning"`
	Digest   string `json:"digest"` // of the version's content
	Sequence uint64 `json:"sequence"`
	Event    string `json:"event"`
	Reset    string `json:"passwordReset,omitempty"` // within 72 hours before
}

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

// appendObservations appends the lesions of the report that is the event after.
func appendObservations(chain *ledger.Chain, c *candidate, report fhir.Report) error {
	report.Version, report.LastUpdated = chain.Next()
	body, err := report.EncodeObservations()
	if err != nil {
		return fmt.Errorf("write observations: %w", err)
	}
	_, _, err = chain.Append(events.ObservationsSigned, events.ReportSubject(c.id, report.Version+1), c.partition(), body)
	return err
}

// partition names the case in the event's partition key.
func (c *candidate) partition() string { return fmt.Sprint(c.number) }

func (c *candidate) answer(e events.Event, version events.Version, signature events.Signature) Signed {
	return Signed{
		ID: c.id, Study: c.study, Case: c.number, Version: version,
		Kind: e.Kind(), Event: e.ID, Sequence: e.Number, Time: e.Time, Signature: signature, Digest: c.digest,
	}
}
