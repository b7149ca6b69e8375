package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// maxPerSignOff bounds how many assessments one call signs.
const maxPerSignOff = 10_000

// SignOff is a request of a PI to sign versions of assessments.
type SignOff struct {
	User        string   // of the PI, who was authenticated by the caller
	Meaning     string   // of the signature (21 CFR 11.50)
	IDs         []string // of the assessments; an id that is there twice counts once
	TraceParent string   // W3C trace context; may be empty; ignored if it is malformed

	// Credential, if not empty, is accounts.PI.Credential of the password by which the PI
	// was authenticated. If the PI has another one by now, nothing is signed, and SignOff
	// returns an Unauthenticated Error.
	Credential string

	// Expected has, by assessment id, the version that the PI has seen and means
	// to sign. Of an assessment without an entry, the waiting version is signed,
	// whichever it is. With an entry, the same request can be sent again and does
	// not sign what was registered meanwhile.
	Expected map[string]Expected

	// Stamp, if not empty, is review.Case.Stamp of the case that the PI has seen. Then
	// nothing is signed if anything of the case was registered, signed, withdrawn or
	// returned since: what the PI has seen of one visit may depend on the others. All
	// assessments must be of one case.
	Stamp string

	// Remarks has, by assessment id, what the audit trail is to record with the
	// signature. It is published to nobody. The outbox does not know which assessment
	// needs a reason: the caller, and so the host of SignOffTx, finds out with
	// recist.Check what contradicts RECIST 1.1, shows it to the PI and asks for one.
	// Of an assessment that was signed before, the remark of then stays.
	Remarks map[string]Remark

	// Channel, if not empty, is the way by which the request came, such as "api". The
	// audit trail records it.
	Channel string
}

// Remark is recorded in the audit trail with a signature.
type Remark struct {
	Reason   string   // why it is signed although something contradicts it; may be empty
	Findings []string // what the PI was shown that contradicts it
}

// Bounds of the findings of a remark.
const (
	maxFindings = 20
	maxFinding  = 10_000 // bytes
)

// Signed is the answer to a sign-off or a withdrawal: the version, its signature
// and the event that publishes it. The same request again has the same answer.
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

	// Digest is the lower-case hex SHA-256 of the content that was signed, as
	// it is stored. Signatures made before it was recorded have none.
	Digest string `json:"digest,omitempty"`

	// Withdrawal, in the answer to a withdrawal, is the signature by which the
	// report was withdrawn.
	Withdrawal *events.Signature `json:"withdrawal,omitempty"`

	// Withdrawn is set in an answer that is returned again after the report was
	// withdrawn.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// SignOff signs the waiting versions of the assessments. Those of one case are
// signed in one transaction, all or none; several cases are signed one after the
// other, by study and case number. SignOff returns when they are on disk.
//
// With a stamp, SignOff signs nothing if the case has another one by now, and returns a
// Stale Error. An answer to a sign-off of before is returned all the same.
//
// The answers are in the order of publication within each case, after those of its
// assessments that were signed before. An assessment counts as signed before if nothing
// waits, or if the version signed last is the expected one. If the same PI signed that
// version with the same meaning, the answer is the first one again; if not, the error is
// a Conflict that names the signed version, signer and time.
//
// The error is NotFound if there is no such assessment, and Forbidden if the PI is
// disabled or has no grant for the study. It is a Conflict if a version cannot be
// signed, or if the expected version is neither the waiting nor the signed one. With an
// error, the answers are those of the cases signed before it. A refusal is audited,
// because the PI had given the right password.
func (o *Outbox) SignOff(ctx context.Context, s SignOff) ([]Signed, error) {
	start := time.Now()
	answers, err := o.signOff(ctx, s)
	o.counters.signed(len(answers), err, time.Since(start))
	return answers, err
}

// signOff is SignOff without its metrics.
func (o *Outbox) signOff(ctx context.Context, s SignOff) ([]Signed, error) {
	if err := s.check(); err != nil {
		return nil, o.RecordRefusal(ctx, s, err)
	}
	cases, err := groupByCase(ctx, o.db.Reader, s.IDs)
	if err != nil {
		return nil, o.RecordRefusal(ctx, s, ledger.Explain("sign off", err))
	}
	if err := s.checkCases(cases); err != nil {
		return nil, o.RecordRefusal(ctx, s, err)
	}
	var answers []Signed
	for _, ids := range cases {
		var some []Receipt
		prepared := prepared{versions: o.prepareVersions(ctx, s, ids)}
		err := o.update(ctx, "sign off", func(tx *transaction) (err error) {
			some, err = tx.signCase(s, ids, prepared)
			return err
		})
		if err != nil {
			return answers, o.recordRefusal(ctx, refusal{user: s.User, ids: ids, meaning: s.Meaning}, err)
		}
		o.step("committed")
		answers = append(answers, answersOf(some)...)
	}
	return answers, nil
}

// SignOffTx is SignOff in a transaction of the host's own on the same database,
// so that the host's rows and the sign-off are committed together. Whether something
// contradicts RECIST 1.1, and is signed with a reason only, is the host's to check; see
// SignOff.Remarks.
//
// It takes the write lock before it reads. So nothing that it reads can change before
// the host commits. If the host has read in the transaction and another writer has
// committed since, the lock cannot be taken. Then the error is Unavailable, and the
// host has to begin a new transaction.
//
// When ctx ends, SignOffTx returns its cause before the next case. After an
// error the host must roll back: what was written for earlier cases is still in
// the transaction. Then it calls RecordRefusal. After the commit it calls Wake.
func (o *Outbox) SignOffTx(ctx context.Context, host *sqlx.Tx, s SignOff) ([]Signed, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if _, err := host.ExecContext(ctx, takeWriteLock); err != nil {
		return nil, ledger.Explain("sign off", o.db.Explain(err))
	}
	cases, err := groupByCase(context.WithoutCancel(ctx), host, s.IDs)
	if err != nil {
		return nil, ledger.Explain("sign off", err)
	}
	if err := s.checkCases(cases); err != nil {
		return nil, err
	}
	tx := &transaction{o.ledger.In(ctx, host), o}
	var answers []Signed
	for _, ids := range cases {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		some, err := tx.signCase(s, ids, prepared{versions: make(map[string]preparedVersion)})
		if err != nil {
			return nil, ledger.Explain("sign off", o.db.Explain(err))
		}
		answers = append(answers, answersOf(some)...)
	}
	return answers, nil
}

// takeWriteLock sets a column to its own value. It changes nothing, but makes the
// transaction take the write lock.
const takeWriteLock = `update relay set floor = floor`

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

var traceParentForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// check returns an error unless the request is well-formed. It removes a
// malformed trace context, as W3C Trace Context demands.
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
	if s.Stamp != "" && !digestForm.MatchString(s.Stamp) {
		return events.Fieldf("stamp", "must be 64 lower-case hexadecimal digits")
	}
	if err := s.checkRemarks(); err != nil {
		return err
	}
	return s.checkExpected()
}

// checkCases returns an error if the request has a stamp but assessments of several
// cases.
func (s SignOff) checkCases(cases [][]string) error {
	if s.Stamp != "" && len(cases) > 1 {
		return events.Fieldf("stamp", "is of one case, but the assessments are of %d; sign each case by itself", len(cases))
	}
	return nil
}

// checkRemarks returns an error unless each remark is well-formed and of an assessment that
// is to be signed.
func (s SignOff) checkRemarks() error {
	if len(s.Remarks) == 0 {
		return nil
	}
	named := s.named()
	for _, id := range slices.Sorted(maps.Keys(s.Remarks)) {
		r := s.Remarks[id]
		if !named[id] {
			return events.Fieldf("remarks", "there is a remark on assessment %q, which is not among those to be signed", id)
		}
		if r.Reason != "" {
			if err := events.ValidReason(r.Reason); err != nil {
				return err
			}
		}
		if len(r.Findings) > maxFindings {
			return events.Fieldf("findings", "%d findings are to be recorded with assessment %s; at most %d are allowed", len(r.Findings), id, maxFindings)
		}
		for _, f := range r.Findings {
			if len(f) > maxFinding || !utf8.ValidString(f) {
				return events.Fieldf("findings", "a finding of assessment %s is not valid UTF-8 of at most %d bytes", id, maxFinding)
			}
		}
	}
	return nil
}

// named returns the ids of the assessments that are to be signed.
func (s SignOff) named() map[string]bool {
	named := make(map[string]bool, len(s.IDs))
	for _, id := range s.IDs {
		named[id] = true
	}
	return named
}

// checkTraceParent returns the trace context, or an empty string if it is malformed.
func checkTraceParent(text string) string {
	if !traceParentForm.MatchString(text) {
		return ""
	}
	return text
}

// groupByCase returns the ids of each case, each id once, ordered by study and case
// number. The error is NotFound for an unknown id, unless that is the only one: then it
// is returned as it is.
func groupByCase(ctx context.Context, q database.Querier, ids []string) ([][]string, error) {
	if len(ids) == 1 {
		return [][]string{ids}, nil // the transaction finds out whether it exists
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
		err := q.QueryRowContext(ctx, `
			select s.study, a.number
			from assessments a
			join studies s on s.row = a.study
			where a.id = +?`, id).Scan(&k.study, &k.number)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, stored.Unknown(id)
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

// Expected is the version of an assessment that the PI means to sign.
type Expected struct {
	Version events.Version

	// Registration, if not 0, is Waiting.Registration of the version that the PI has
	// seen. A later registration with the same Version does not match it.
	Registration int64

	// Digest, if not empty, is Waiting.Digest of the version that the PI has seen.
	// Other content with the same Version does not match it.
	Digest string
}

// matches reports whether e is the stored version in row, which has the revisions
// version. It reads the digest only if e has one and all else is equal. Row is 0
// where no version is stored; then nothing matches.
func (e Expected) matches(version events.Version, row int64, digest func() (string, error)) (bool, error) {
	if row == 0 || e.Version != version || e.Registration != 0 && e.Registration != row {
		return false, nil
	}
	if e.Digest == "" {
		return true, nil
	}
	found, err := digest()
	return err == nil && e.Digest == found, err
}

// meansWaiting reports whether the sign-off is to sign the candidate's waiting version.
// If not, it asks for the version signed last, which needs no signature. Without an
// expected version, the waiting version is meant if there is one. The error is a
// Conflict if the expected version is neither of the two.
func (tx *transaction) meansWaiting(s SignOff, c *candidate, prepared prepared) (bool, error) {
	e, ok := s.Expected[c.id]
	if !ok {
		return c.waiting != 0, nil
	}
	signed, err := e.matches(c.signedVersion, c.signed, func() (string, error) {
		content, err := tx.content(c.signed)
		return stored.Digest(content), err
	})
	if signed || err != nil {
		return false, err
	}
	waiting, err := e.matches(c.waitingVersion, c.waiting, func() (string, error) {
		p, err := tx.readWaiting(c, prepared)
		return p.digest, err
	})
	if waiting || err != nil {
		return waiting, err
	}
	switch {
	case c.waiting != 0 && e.Version == c.waitingVersion:
		return false, events.Errorf(events.Conflict,
			"%s of assessment %s was registered again, with other content, since it was read; read it again", e.Version, c.id)
	case c.signed != 0 && e.Version == c.signedVersion && e.Digest != "":
		return false, events.Errorf(events.Conflict,
			"%s of assessment %s was signed by %s at %s with other content than %.12s…; read it again",
			e.Version, c.id, c.signature.User, events.FormatTime(c.signature.Time), e.Digest)
	default:
		return false, events.Errorf(events.Conflict, "%s of assessment %s does not wait: %s, and %s",
			e.Version, c.id, c.whatWaits(), c.whatWasSigned())
	}
}

func (c *candidate) whatWaits() string {
	if c.waiting == 0 {
		return "nothing does"
	}
	return fmt.Sprintf("%s does", c.waitingVersion)
}

func (c *candidate) whatWasSigned() string {
	if c.signed == 0 {
		return "nothing was signed"
	}
	return fmt.Sprintf("%s was signed by %s at %s", c.signedVersion, c.signature.User, events.FormatTime(c.signature.Time))
}

// checkExpected returns an error unless each expected version is one of an
// assessment that is to be signed.
func (s SignOff) checkExpected() error {
	if len(s.Expected) == 0 {
		return nil
	}
	named := s.named()
	for id, e := range s.Expected {
		if !named[id] {
			return events.Fieldf("expected", "a version of assessment %q is expected, which is not among those to be signed", id)
		}
		if e.Version.CaseRevision < 1 || e.Version.Revision < 1 {
			return events.Fieldf("expected", "the version expected of assessment %s has a revision below 1", id)
		}
		if e.Digest != "" && !digestForm.MatchString(e.Digest) {
			return events.Fieldf("expected", "the digest expected of assessment %s is not 64 lower-case hexadecimal digits", id)
		}
	}
	return nil
}
