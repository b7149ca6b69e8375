package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxPerSignOff bounds how many assessments one call signs.
const maxPerSignOff = 10_000

// SignOff says which versions a PI signs.
type SignOff struct {
	User        string   // of the PI, who was authenticated by the caller
	Meaning     string   // of the signature (21 CFR 11.50)
	IDs         []string // of the assessments; one that is there twice counts once
	TraceParent string   // W3C trace context; may be empty, and is left out where it is malformed

	// Expected names, by assessment id, the versions that the PI has seen and
	// means. May be empty, or lack some: then it is whatever waits. With it a
	// sign-off can be repeated without signing what was registered meanwhile.
	Expected map[string]Expected
}

// Signed is the answer to a sign-off or a withdrawal: what was signed and the
// event that says so. Who repeats the request gets the same answer.
type Signed struct {
	ID        string           `json:"id"`
	Study     string           `json:"study"`
	Case      int32            `json:"case"`
	Version   events.Version   `json:"version"`
	Kind      events.Kind      `json:"kind"`
	Event     string           `json:"event"`    // its id
	Sequence  uint64           `json:"sequence"` // its number in the study
	Time      time.Time        `json:"time"`     // the event's
	Signature events.Signature `json:"signature"`

	// Withdrawn says, in the first answer given again, that the report was
	// withdrawn since.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// SignOff signs the waiting versions of the assessments. Those of one case are
// signed in one transaction, all or none; several cases follow each other by
// case number. It returns when they are on disk.
//
// The answers stand in the order of publication. Where nothing waits, or the
// version signed last is the one expected, and the PI has signed that with the
// same meaning, the answer is the first one again. Otherwise the error says why
// not: NotFound, Forbidden (the PI is disabled or has no grant for the study)
// or Conflict, which names the signed version, signer and time; where another
// version is expected than waits or was signed last, it names both. With
// several cases, the answers are of those signed before the error.
func (o *Outbox) SignOff(ctx context.Context, s SignOff) ([]Signed, error) {
	start := time.Now()
	answers, err := o.signOff(ctx, s)
	o.counters.signed(answers, err, time.Since(start))
	return answers, err
}

func (o *Outbox) signOff(ctx context.Context, s SignOff) ([]Signed, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	cases, err := groupByCase(o.db.Reader, s.IDs)
	if err != nil {
		return nil, explain("sign off", err)
	}
	var answers []Signed
	for _, ids := range cases {
		var some []Signed
		ready := o.prepareVersions(ctx, ids)
		err := o.update(ctx, "sign off", func(w *work) (err error) {
			some, err = w.signCase(s, ids, ready)
			return err
		})
		if err != nil {
			return answers, err
		}
		o.step("committed")
		answers = append(answers, some...)
	}
	return answers, nil
}

// SignOffTx is SignOff in a transaction of the host's own on the same database
// file, so that what the host writes and the sign-off are committed together.
// The transaction should take the write lock when it begins (the driver's
// _txlock=immediate), as those of DB().Writer do. After an error the host must
// roll back. After the commit, Wake tells the publisher at once.
func (o *Outbox) SignOffTx(_ context.Context, tx *sqlx.Tx, s SignOff) ([]Signed, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	cases, err := groupByCase(tx, s.IDs)
	if err != nil {
		return nil, explain("sign off", err)
	}
	w := o.work(tx)
	var answers []Signed
	for _, ids := range cases {
		some, err := w.signCase(s, ids, nil)
		if err != nil {
			return nil, explain("sign off", err)
		}
		answers = append(answers, some...)
	}
	return answers, nil
}

var traceParentForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// check brings a request into its form. A malformed trace context is dropped,
// as W3C Trace Context wants it.
func (s *SignOff) check() error {
	if err := events.ValidMeaning(s.Meaning); err != nil {
		return err
	}
	if len(s.IDs) == 0 {
		return &events.Error{Code: events.Required, Field: "ids", Message: "name at least one assessment"}
	}
	if len(s.IDs) > maxPerSignOff {
		return &events.Error{Code: events.TooLarge, Field: "ids", Message: fmt.Sprintf("at most %d assessments are signed at once", maxPerSignOff)}
	}
	s.TraceParent = checkTraceParent(s.TraceParent)
	return s.checkExpected()
}

func checkTraceParent(text string) string {
	if !traceParentForm.MatchString(text) {
		return ""
	}
	return text
}

// groupByCase gives the ids of each case, by study and case number.
func groupByCase(q sqlx.Queryer, ids []string) ([][]string, error) {
	if len(ids) == 1 {
		return [][]string{ids}, nil // whether it exists is seen in the transaction
	}
	type key struct {
		study  string
		number int32
	}
	groups := make(map[key][]string)
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		var k key
		err := q.QueryRowx(`
			select s.study, a.number
			from assessments a
			join studies s on s.row = a.study
			where a.id = +?`, id).Scan(&k.study, &k.number)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, unknownAssessment(id)
		}
		if err != nil {
			return nil, fmt.Errorf("look up cases: %w", err)
		}
		groups[k] = append(groups[k], id)
	}
	keys := make([]key, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.study, b.study), cmp.Compare(a.number, b.number))
	})
	out := make([][]string, len(keys))
	for i, k := range keys {
		out[i] = groups[k]
	}
	return out, nil
}

func unknownAssessment(id string) error {
	if !events.ValidFHIRID(id) {
		return events.Fieldf("id", "%q is not an assessment id: 1 to 64 of A-Z, a-z, 0-9, - and .", id)
	}
	return events.Errorf(events.NotFound, "no assessment %s is registered", id)
}
