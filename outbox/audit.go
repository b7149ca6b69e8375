package outbox

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Actions in the audit trail, beside those of package accounts.
const (
	actionRegistered  = "assessment.registered"
	actionReplaced    = "assessment.replaced" // a waiting version, by another
	actionMoved       = "assessment.moved"    // to another case, before anything of it was signed
	actionCaseRebound = "case.rebound"        // to another subject, likewise
	actionReturned    = "assessment.returned" // to its source, by a PI
	actionSigned      = "assessment.signed"
	actionSuperseded  = "report.superseded"
	actionWithdrawn   = "report.withdrawn"
	actionRefused     = "assessment.sign-refused" // to a PI who had given the right password
	actionNotTaken    = "report.withdraw-refused" // likewise
	actionParked      = "study.parked"
	actionReleasing   = "study.release-requested"
	actionReleased    = "study.released"
)

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	Number     int64           `json:"number"` // 1, 2, 3 …
	Time       time.Time       `json:"time"`
	Actor      string          `json:"actor"` // a PI, source, operator or the program; empty in a failed sign-in, whose detail has the name that was tried
	Action     string          `json:"action"`
	Study      string          `json:"study,omitempty"`
	Subject    string          `json:"subject"`              // an assessment, user, partner, source or key
	Detail     json.RawMessage `json:"detail"`               // an object; its members depend on the action
	Assessment json.RawMessage `json:"assessment,omitempty"` // the version it concerns
	Account    string          `json:"account,omitempty"`    // of the operating system; in lines of older versions empty, like Host, Process and Hash
	Host       string          `json:"host,omitempty"`
	Process    int64           `json:"process,omitempty"` // its id
	Address    string          `json:"address,omitempty"` // IP address of the client, over HTTP
	Hash       string          `json:"hash,omitempty"`    // lower-case hex SHA-256 of this line and the hash before it
}

// AuditFilter selects lines of the audit trail. The zero filter selects all.
type AuditFilter struct {
	Study      string  // id
	People     bool    // with Study: also lines without a study about PIs, partners and sources who have or had a grant for it
	Reader     *Reader // only lines that this PI may read
	Subject    string
	Assessment string // id
	Actor      string
	Action     string    // such as pi.added, or its first word alone
	Actions    []string  // such as pi.added; lines with any of them; empty: with all
	From       time.Time // lines of this time and later
	Until      time.Time // lines of earlier times; zero: of all
	After      int64     // lines numbered higher
	Before     int64     // lines numbered lower; 0: all
	Newest     int       // only so many, the latest first; 0: all, in order
}

// Reader is a PI who reads the audit trail.
type Reader struct {
	User    string
	Studies []string // ids of those that are granted
}

// mayRead reports whether the PI may read the line. The lines are those about the studies,
// those by which a PI, partner or source was added with a grant for one of them, and those
// about the PI and the PI's own sign-ins and sessions.
func (r *Reader) mayRead(e AuditEntry) bool {
	if r == nil || e.Study != "" {
		return r == nil || slices.Contains(r.Studies, e.Study)
	}
	var detail struct {
		Kind    string   `json:"kind"`
		Studies []string `json:"studies"`
	}
	_ = json.Unmarshal(e.Detail, &detail) // a line without these members is about no study
	switch kind := kindOf(e.Action); kind {
	case "pi", "session":
		if e.Subject == r.User {
			return true
		}
	case "sign-in":
		return e.Subject == r.User && signInKinds[detail.Kind] == "pi"
	}
	return slices.ContainsFunc(detail.Studies, func(study string) bool { return slices.Contains(r.Studies, study) })
}

// errEnough ends the reading of the audit trail.
var errEnough = errors.New("enough lines")

// Audit calls fn with each line of the audit trail that the filter selects, in order, or
// the latest first with filter.Newest. If fn returns an error, Audit stops and returns that error.
func (o *Outbox) Audit(ctx context.Context, filter AuditFilter, fn func(AuditEntry) error) error {
	filter.Study = ledger.NormalizeStudy(filter.Study)
	var people map[account]bool
	if filter.Study != "" && filter.People {
		var err error
		if people, err = o.peopleOf(ctx, filter.Study); err != nil {
			return err
		}
	}
	from, until := filter.times()
	actions, studies, reader := textRows(filter.Actions), "[]", ""
	if filter.Reader != nil {
		reader, studies = filter.Reader.User, textRows(filter.Reader.Studies)
	}
	order := "asc"
	if filter.Newest > 0 {
		order = "desc"
	}
	selected := 0
	var stopped error // returned by fn, and to be returned as it is
	err := database.Each(ctx, o.db.Reader, func(row database.Row) error {
		entry, err := scanAudit(row)
		if err == nil && filter.ofStudy(entry, people) && filter.Reader.mayRead(entry) {
			if selected++; filter.Newest > 0 && selected > filter.Newest {
				return errEnough
			}
			stopped = fn(entry)
		}
		return cmp.Or(err, stopped)
	}, `
		select a.row, a.time, a.actor, a.action, a.study, a.subject, a.detail, v.content,
			a.account, a.host, a.process, a.address, a.hash
		from audit a
		left join versions v on v.row = a.version
		where a.row > ? and (? = 0 or a.row < ?)
			and a.time >= ? and a.time < ?
			and (? = '' or a.subject = ?)
			and (? = '' or a.actor = ?)
			and (? = '' or a.action = ? or substr(a.action, 1, length(?) + 1) = ? || '.')
			and (? = '[]' or a.action in (select c0 from `+o.db.JSONRows("c0")+`))
			and (? = '' or a.subject = ? and (a.action like 'assessment.%' or a.action like 'report.%'))
			and (? = '' or a.study in (select c0 from `+o.db.JSONRows("c0")+`)
				or a.study = '' and (a.subject = ? or a.action in ('pi.added', 'partner.added', 'source.added')))
		order by a.row `+order,
		filter.After, filter.Before, filter.Before, from, until, filter.Subject, filter.Subject, filter.Actor, filter.Actor,
		filter.Action, filter.Action, filter.Action, filter.Action, actions, actions, filter.Assessment, filter.Assessment,
		reader, studies, reader)
	if errors.Is(err, errEnough) {
		return nil
	}
	if err != nil && stopped == nil {
		return fmt.Errorf("read audit trail: %w", err)
	}
	return err
}

// times returns the bounds of the lines' times as texts.
func (f AuditFilter) times() (from, until string) {
	until = "~" // after all times
	if !f.From.IsZero() {
		from = events.FormatTime(f.From)
	}
	if !f.Until.IsZero() {
		until = events.FormatTime(f.Until)
	}
	return from, until
}

// textRows returns texts as the parameter of database.DB.JSONRows.
func textRows(texts []string) string {
	rows := make([][]string, len(texts))
	for i, text := range texts {
		rows[i] = []string{text}
	}
	text, _ := json.Marshal(rows) // no text is an error
	return string(text)
}

func scanAudit(row database.Row) (e AuditEntry, err error) {
	var moment string
	var detail, content []byte
	err = row.Scan(&e.Number, &moment, &e.Actor, &e.Action, &e.Study, &e.Subject, &detail, &content,
		&e.Account, &e.Host, &e.Process, &e.Address, &e.Hash)
	if err != nil {
		return e, err
	}
	e.Detail, e.Assessment = detail, content
	e.Time, err = events.ParseTime(moment)
	return e, err
}

// account is a PI, a partner or a source.
type account struct{ kind, name string } // the kind is the first word of its actions

// peopleOf returns the PIs, partners and sources who have or had a grant for the study. It
// finds them by the lines of the audit trail that add, grant or revoke.
func (o *Outbox) peopleOf(ctx context.Context, study string) (map[account]bool, error) {
	people := make(map[account]bool)
	err := database.Each(ctx, o.db.Reader, func(row database.Row) error {
		var action, subject, about string
		var detail []byte
		if err := row.Scan(&action, &subject, &about, &detail); err != nil {
			return err
		}
		var added struct {
			Studies []string `json:"studies"`
		}
		if err := json.Unmarshal(detail, &added); err != nil {
			return err
		}
		if about == study || slices.Contains(added.Studies, study) {
			people[account{kindOf(action), subject}] = true
		}
		return nil
	}, `
		select action, subject, study, detail
		from audit
		where action in ('pi.added', 'pi.granted', 'pi.revoked', 'partner.added', 'partner.granted', 'partner.revoked',
			'source.added', 'source.granted', 'source.revoked')`)
	if err != nil {
		return nil, fmt.Errorf("read audit trail: %w", err)
	}
	return people, nil
}

// kindOf returns the first word of an action, such as pi of pi.added.
func kindOf(action string) string {
	kind, _, _ := strings.Cut(action, ".")
	return kind
}

// signInKinds has the kind of an account by the kind of its sign-ins.
var signInKinds = map[string]string{"user": "pi", "client": "partner", "source": "source"}

// ofStudy reports whether the filter's study selects the line. It selects lines
// about the study, and lines without a study about one of people. Without a study
// in the filter it selects all.
func (f AuditFilter) ofStudy(e AuditEntry, people map[account]bool) bool {
	if f.Study == "" || e.Study == f.Study {
		return true
	}
	if e.Study != "" || len(people) == 0 {
		return false
	}
	kind := kindOf(e.Action)
	if kind == "sign-in" {
		var detail struct {
			Kind string `json:"kind"`
		}
		_ = json.Unmarshal(e.Detail, &detail) // a line without a kind is about none of people
		kind = signInKinds[detail.Kind]
	}
	return people[account{kind, e.Subject}]
}

// TrailHead identifies the last line of the audit trail. Its hash covers all
// lines.
type TrailHead = ledger.TrailHead

// WithAddress returns a context in which a call's lines in the audit trail have
// the IP address of the client that asked for it.
func WithAddress(ctx context.Context, address string) context.Context {
	return ledger.WithAddress(ctx, address)
}

// VerifyTrail reads the whole audit trail. It returns its head and the head that was
// published last, or the zero TrailHead where none was. The error is Altered if the
// trail or its protection was changed. It names what is wrong: a line that was
// changed or is missing, an end that was cut off, or a trigger that was changed or added.
// The triggers keep records from change; one that was added may keep lines out.
//
// VerifyTrail cannot find that lines after the published head were cut off, if the
// rows that name those lines were changed too.
func (o *Outbox) VerifyTrail(ctx context.Context) (head, published TrailHead, err error) {
	changed, added, err := o.db.ChangedTriggers(ctx, o.schema)
	if err != nil {
		return head, published, fmt.Errorf("verify audit trail: %w", err)
	}
	head, published, err = o.ledger.VerifyTrail(ctx)
	if err != nil && events.CodeOf(err) != events.Altered {
		return head, published, err // the trail could not be read, so nothing more is certain
	}
	var findings []string
	if len(changed) > 0 {
		findings = append(findings, "the database lacks, or has in another form, triggers that keep records from change: "+strings.Join(changed, ", "))
	}
	if len(added) > 0 {
		findings = append(findings, "the database has triggers that signoff has not made, so lines may be missing: "+strings.Join(added, ", "))
	}
	if len(findings) == 0 {
		return head, published, err
	}
	if err != nil {
		findings = append(findings, err.Error())
	}
	return head, published, events.Errorf(events.Altered, "%s", strings.Join(findings, "; "))
}

// TrailFinding returns what was wrong with the audit trail when Run checked it, or why
// the trail cannot be read. It is nil if nothing was wrong, and before the check has
// ended.
func (o *Outbox) TrailFinding() error { return o.trail.get() }

// ClockFinding returns why Run could not store the time at its last attempt, such
// as that the clock is wrong. It is nil if it could.
func (o *Outbox) ClockFinding() error { return o.clock.get() }

// watchTrail checks the audit trail once and stores the time, and then calls
// EveryMinute each minute until ctx ends. A trail that was changed does not stop the
// program, because partners need their reports. It is logged, and the head of the
// trail is not published any more. A trail that cannot be read is checked again after
// a minute.
func (o *Outbox) watchTrail(ctx context.Context) error {
	ticker := time.NewTicker(trailEvery)
	defer ticker.Stop()
	checked := false
	for do := o.noteTime; ; do = o.EveryMinute {
		if !checked {
			checked = o.checkTrail(ctx)
		}
		if err := do(ctx); err != nil && ctx.Err() == nil {
			o.log.Warn("the time is not noted, or the head of the audit trail is not published", "cause", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// checkTrail verifies the audit trail, logs the result and keeps a finding for
// TrailFinding. It reports whether the trail could be read.
func (o *Outbox) checkTrail(ctx context.Context) bool {
	head, published, err := o.VerifyTrail(ctx)
	switch {
	case ctx.Err() != nil:
		return false
	case events.CodeOf(err) == events.Altered:
		o.trail.set(err)
		o.log.Error("the audit trail is not as it was written", "cause", err)
	case err != nil:
		o.trail.set(err)
		o.log.Warn("the audit trail cannot be checked; trying again in a minute", "cause", err)
		return false
	default:
		o.trail.set(nil)
		o.log.Info("the audit trail is complete and unchanged", "line", head.Line, "hash", head.Hash, "published", published.Line)
	}
	return true
}

// noteTime stores the time as one at which the clock was right, if it is (see
// ledger.NoteTime), and keeps the error for ClockFinding.
func (o *Outbox) noteTime(ctx context.Context) error {
	err := o.ledger.NoteTime(ctx)
	o.clock.set(err)
	return err
}

// EveryMinute stores the time, if the wall clock was not set and Config.CheckClock's
// limits hold. It also appends an event with the head of the audit trail, if the head
// has changed and the last such event is at least a minute old. It appends none if
// TrailFinding returns an error. Run calls EveryMinute each minute.
func (o *Outbox) EveryMinute(ctx context.Context) error {
	err := o.noteTime(ctx)
	if o.TrailFinding() != nil {
		return err
	}
	head, announced, failure := o.ledger.AnnounceTrail(ctx, trailEvery)
	if announced {
		o.log.Info("the head of the audit trail", "line", head.Line, "hash", head.Hash)
	}
	return errors.Join(err, failure)
}

// ErrClock is the error that a sign-off or withdrawal returns, besides a Conflict, when it
// is refused because the clock is wrong. An operator has to help.
var ErrClock = ledger.ErrClock

// AcceptClock records that an operator, named by, says that the clock is right,
// however far it is from the last event. It returns the time that the clock shows.
// See Config.CheckClock.
func (o *Outbox) AcceptClock(ctx context.Context, by string) (time.Time, error) {
	return o.ledger.AcceptClock(ctx, by)
}

// checkTime returns a Conflict if Config.CheckClock is set and the clock is wrong.
func (tx *transaction) checkTime() error {
	if !tx.o.checkClock {
		return nil
	}
	return tx.CheckClock()
}

// refusal is a signature that was refused.
type refusal struct {
	user            string
	ids             []string // of assessments
	meaning, reason string
	withdrawal      bool
}

// Bounds of the audit line of a refusal.
const (
	maxRefusedIDs     = 100
	maxRefusedMessage = 1000 // bytes; a message may quote what is malformed
)

// RecordRefusal audits that a sign-off was refused with err, and returns err. If the
// refusal cannot be audited, it returns err joined with the cause of that. An error
// that is no refusal, such as a full disk, is returned and not audited.
//
// SignOff audits its refusals by itself. A host calls RecordRefusal after an error of
// SignOffTx, when it has rolled back its transaction: the rollback would undo a line
// written in it.
func (o *Outbox) RecordRefusal(ctx context.Context, s SignOff, err error) error {
	return o.recordRefusal(ctx, refusal{user: s.User, ids: s.IDs, meaning: s.Meaning}, err)
}

// RecordRefusedWithdrawal is RecordRefusal for a withdrawal that a host has refused before
// it called Withdraw.
func (o *Outbox) RecordRefusedWithdrawal(ctx context.Context, wd Withdrawal, err error) error {
	return o.recordRefusal(ctx, refusal{user: wd.User, ids: []string{wd.ID}, meaning: wd.Meaning, reason: wd.Reason, withdrawal: true}, err)
}

// recordRefusal audits the refusal and returns cause; see RecordRefusal.
func (o *Outbox) recordRefusal(ctx context.Context, r refusal, cause error) error {
	var refused *events.Error
	if !errors.As(cause, &refused) {
		return cause
	}
	switch refused.Code {
	case events.Unavailable, events.Internal, events.Outdated:
		return cause // nothing was decided
	}
	err := o.ledger.UpdateSilently(context.WithoutCancel(ctx), "record refused signature", func(tx *ledger.Tx) error {
		return r.audit(tx, refused)
	})
	if err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// audit writes the line of the refusal. It leaves out a malformed user name, meaning,
// reason or id, and any text beyond the bounds. The study is that of the first
// well-formed id.
func (r refusal) audit(tx *ledger.Tx, cause *events.Error) error {
	detail := struct {
		Code        events.Code `json:"code"`
		Message     string      `json:"message"`
		Meaning     string      `json:"meaning,omitempty"`
		Reason      string      `json:"reason,omitempty"`
		Assessments []string    `json:"assessments,omitempty"` // where there are several
		Number      int         `json:"number,omitempty"`      // of assessments, where not all are listed
	}{Code: cause.Code}
	message := cause.Message
	if cause.Field != "" { // which the message is about
		message = cause.Field + ": " + message
	}
	detail.Message = strings.ToValidUTF8(message[:min(len(message), maxRefusedMessage)], "")
	line := ledger.Line{Action: actionRefused}
	if r.withdrawal {
		line.Action = actionNotTaken
	}
	if events.ValidUser(r.user) {
		line.Actor = r.user
	}
	if events.ValidMeaning(r.meaning) == nil {
		detail.Meaning = r.meaning
	}
	if events.ValidReason(r.reason) == nil {
		detail.Reason = r.reason
	}
	ids := slices.DeleteFunc(slices.Clone(r.ids), func(id string) bool { return !events.ValidFHIRID(id) })
	if len(ids) > 0 {
		if err := tx.QueryRow(`
			select s.study
			from assessments a
			join studies s on s.row = a.study
			where a.id = +?`, ids[0]).Scan(&line.Study); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look up study: %w", err)
		}
	}
	switch {
	case len(ids) == 1:
		line.Subject = ids[0]
	case len(ids) > maxRefusedIDs:
		detail.Assessments, detail.Number = ids[:maxRefusedIDs], len(ids)
	default:
		detail.Assessments = ids
	}
	line.Detail = detail
	return tx.Audit(line)
}
