package accounts

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Failed sign-ins are counted by group and quarter hour. A group is the kind of the
// sign-in, its protocol, the name that was tried and where the client is. At one place,
// all names that nobody has are one group. A quarter hour begins with a failure of its
// group and lasts 15 minutes. The first failure has its line in the audit trail at once;
// the later ones are only counted. When the quarter hour is over, it is closed: it is
// deleted, and if it has two failures or more, their number becomes one line. So no
// number of failures fills the audit trail. Quarter hours are in the table
// failed_sign_ins.
//
// Nobody who fails to sign in is known, so the lines of failures have no actor; the
// name that was tried is in the detail.
//
// Failures of users, which may come from a command that ends at once, are counted in
// the database. Failures of clients may be thousands a second. They are counted in
// memory, and Run adds them to the database each second. If the process is killed, the
// failures of that second are lost.
//
// Apart from that, the table failures has how often in a row each user failed to sign
// in from an address. It locks the user for that address. It has names that nobody has
// too, because a name that is never locked would be known not to exist. Run deletes what
// is forgotten, and the table has at most maxFailures rows. So names that nobody has, one
// of which may be a password that was typed in the wrong field, do not fill the file.

// Kinds of sign-ins, and the protocols of those of clients.
const (
	kindUser   = "user"
	kindClient = "client"
	kindSource = "source"

	overHTTP = "http"
	overNATS = "nats"
)

// attempt is an attempt to sign in.
type attempt struct {
	kind, protocol string
	name           string // that was tried; empty where it is malformed, because nobody has such a name
	known          bool   // a PI, partner or source has this name
	address        string // as access.Place returns it
	from           string // the address as it is
}

// lockedFailures returns how many times in a row the user failed to sign in from the
// address of the attempt. The error is Throttled while the user is locked for that
// address. The lock is for one address only, so that failures from elsewhere cannot lock
// the owner of the name out.
func (acc *Accounts) lockedFailures(ctx context.Context, a attempt) (int, error) {
	wrong, err := findFailures(ctx, acc.ledger.DB.Reader, a)
	if err != nil {
		return 0, err
	}
	return acc.locked(a, wrong)
}

// locked is lockedFailures with what is stored of the failures.
func (acc *Accounts) locked(a attempt, wrong access.WrongAttempts) (int, error) {
	if wrong.Count == 0 {
		return 0, nil
	}
	if wait := access.LockingSignIns.Wait(wrong, acc.ledger.Now()); wait > 0 {
		acc.failed.WithLabelValues(a.kind, "locked").Inc()
		return 0, tooManyFailures(wait)
	}
	return wrong.Count, nil
}

func tooManyFailures(wait time.Duration) error {
	return &events.Error{Code: events.Throttled, Message: "too many failed sign-ins; try again later", RetryAfter: wait}
}

// findFailures returns the failures in a row that are stored for the kind, name and
// address of the attempt; zero for none.
func findFailures(ctx context.Context, q database.Querier, a attempt) (wrong access.WrongAttempts, err error) {
	var last string
	err = q.QueryRowContext(ctx, `
		select count, time
		from failures
		where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address).Scan(&wrong.Count, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return wrong, nil
	}
	if err != nil {
		return wrong, fmt.Errorf("look up failed sign-ins: %w", err)
	}
	wrong.Last, err = events.ParseTime(last)
	return wrong, err
}

// fail records a failed attempt of a user and returns the Unauthenticated Error for it. If
// the user is locked from now on, its RetryAfter is for how long. The reason is for the
// audit trail only.
func (acc *Accounts) fail(ctx context.Context, a attempt, reason string) error {
	var wait time.Duration
	err := acc.ledger.Update(ctx, "record failed sign-in", func(tx *ledger.Tx) (err error) {
		wait, err = recordFailure(ctx, tx, a, reason)
		return err
	})
	if err != nil {
		return err
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	return &events.Error{Code: events.Unauthenticated, Message: wrongPassword, RetryAfter: wait}
}

// recordFailure adds the failure to the failures in a row and to its group's quarter
// hour, and audits it if that makes a line. If the user is locked from now on, it adds a
// line about that and returns for how long. It also forgets old failures in a row and
// closes quarter hours.
func recordFailure(ctx context.Context, tx *ledger.Tx, a attempt, reason string) (wait time.Duration, err error) {
	wrong, err := findFailures(ctx, tx, a)
	if err != nil {
		return 0, err
	}
	wrong = access.LockingSignIns.Add(wrong, tx.Now)
	if err := forgetOldFailures(tx); err != nil {
		return 0, err
	}
	if err := forgetFewestFailures(tx); err != nil {
		return 0, err
	}
	_, err = tx.Exec(`
		insert into failures (kind, name, address, count, time)
		values (?, ?, ?, ?, ?)
		on conflict (kind, name, address) do update
		set count = excluded.count, time = excluded.time`, a.kind, a.name, a.address, wrong.Count, events.FormatTime(wrong.Last))
	if err != nil {
		return 0, err
	}
	if err := recordInQuarterHour(tx, a.group(), quarterHour{tried: a.name, reason: reason, from: a.from, count: 1, last: tx.Now}); err != nil {
		return 0, err
	}
	// The line about a lock is the last one.
	if err := closeQuarterHours(tx); err != nil || !access.LockingSignIns.Slows(wrong) {
		return 0, err
	}
	return access.LockingSignIns.Wait(wrong, tx.Now), tx.Audit(ledger.Line{
		Action: actionLocked, Subject: a.group().name,
		Detail: failureDetail{Kind: a.kind, Name: a.name, Address: a.address, Reason: reason},
	})
}

// forgetOldFailures deletes failures in a row that are old enough to be forgotten.
func forgetOldFailures(tx *ledger.Tx) error {
	_, err := tx.Exec(`delete from failures where time <= ?`, oldFailures(tx.Now))
	return err
}

// oldFailures returns the time at and before which failures in a row are forgotten.
func oldFailures(now time.Time) string {
	return events.FormatTime(now.Add(-access.LockingSignIns.Forget))
}

// maxFailures bounds the rows of the table failures. Each row takes a check of a password,
// and is deleted after a quarter of an hour. In that time no machine checks many more
// passwords than this.
const maxFailures = 20_000

// forgetFewestFailures deletes a tenth of the failures in a row, if maxFailures are stored:
// those of the names that failed least often, and of these the oldest. So no number of
// names ends the lock of another one.
func forgetFewestFailures(tx *ledger.Tx) error {
	var stored int
	if err := tx.QueryRow(`select count(*) from failures`).Scan(&stored); err != nil || stored < maxFailures {
		return err
	}
	_, err := tx.Exec(`
		delete from failures
		where (kind, name, address) in (
			select kind, name, address
			from failures
			order by count, time
			limit +?
		)`, stored-maxFailures+maxFailures/10)
	return err
}

// forgetFailures deletes the failures in a row of the attempt's name and address. It is
// called after a success.
func forgetFailures(tx *ledger.Tx, a attempt) error {
	_, err := tx.Exec(`
		delete from failures
		where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address)
	return err
}

// quarterHourLength is how long a quarter hour lasts.
const quarterHourLength = 15 * time.Minute

// unknownAddress is the address of failures whose client's is not known.
const unknownAddress = "unknown"

// maxGroups bounds the groups in memory. Failures of further groups are counted in one
// group of their kind and protocol, without name and address.
const maxGroups = 1000

// group is a group of failures. Its name is empty for all names that nobody has.
type group struct{ kind, protocol, name, address string }

// group returns the attempt's group.
func (a attempt) group() group {
	if !a.known {
		return group{a.kind, a.protocol, "", a.address}
	}
	return group{a.kind, a.protocol, a.name, a.address}
}

// quarterHour is the failures of a group that are to be added to a quarter hour in the
// database.
type quarterHour struct {
	tried, reason, from string    // name, reason and address of the first failure
	count               int       // failures that are not in the database yet
	last                time.Time // time of the last failure
	until               time.Time // when it is over; a failure from then on begins another
}

// over reports whether the quarter hour is over, or began in the future because the clock
// has been set back since.
func (q quarterHour) over(now time.Time) bool {
	return !now.Before(q.until) || q.until.Sub(now) > quarterHourLength
}

// quarterHours has the present quarter hour of each group of clients in memory.
type quarterHours struct {
	// Held by writeFailures. So when it returns, what another caller has taken before is in
	// the database too, or in memory again.
	writing sync.Mutex

	mu      sync.Mutex
	byGroup map[group]quarterHour
	begun   chan struct{} // receives after FailedLogin has begun a quarter hour; has room for one value
}

// add counts a failure and reports whether it is the first of a quarter hour. The
// caller then has it written to the database at once.
func (q *quarterHours) add(a attempt, reason string, now time.Time) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := a.group()
	if _, ok := q.byGroup[g]; !ok && len(q.byGroup) >= maxGroups {
		g.name, g.address = "", "" // so that requests cannot fill the memory
	}
	present, ok := q.byGroup[g]
	// As long as failures of the former quarter hour are not written, the name, reason
	// and address stay those of the first of them.
	if first = !ok || present.over(now); first && present.count == 0 {
		present = quarterHour{tried: a.name, reason: reason, from: a.from}
	}
	if first {
		present.until = now.Add(quarterHourLength)
	}
	present.count++
	present.last = now
	q.byGroup[g] = present
	return first
}

// take returns the failures that are not in the database yet, by group, and sets their
// counts to 0. It deletes quarter hours that are over from memory.
func (q *quarterHours) take(now time.Time) map[group]quarterHour {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := make(map[group]quarterHour)
	for g, present := range q.byGroup {
		if present.count > 0 {
			taken[g] = present
		}
		if present.count = 0; present.over(now) {
			delete(q.byGroup, g)
		} else {
			q.byGroup[g] = present
		}
	}
	return taken
}

// putBack adds taken failures again, after they could not be written to the database.
func (q *quarterHours) putBack(taken map[group]quarterHour) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for g, before := range taken {
		before.count += q.byGroup[g].count
		q.byGroup[g] = before
	}
}

// FailedLogin records that a login to NATS failed. Id is the partner id that was tried.
// Known tells whether a partner has it, and token whether the password was an access
// token instead of a client secret. FailedLogin does not wait for the database: Run
// writes the failure.
func (acc *Accounts) FailedLogin(id string, known, token bool, address string) {
	a := attempt{kind: kindClient, protocol: overNATS, name: id, known: known, address: access.Place(address), from: address}
	reason := "wrong secret"
	switch {
	case !known:
		reason = "unknown client"
	case token:
		reason = "wrong access token"
	}
	if !events.ValidPartnerID(id) {
		a.name = ""
	}
	if acc.quarterHours.add(a, reason, acc.ledger.Now()) {
		select {
		case acc.quarterHours.begun <- struct{}{}:
		default: // Run has not taken the value before yet, and will write both
		}
	}
}

// failClient records a failed sign-in of a client or a source over HTTP and returns the error for
// it: Throttled after too many in a row, or else Unauthenticated. The first failure of a
// quarter hour is in the database when it returns.
func (acc *Accounts) failClient(ctx context.Context, a attempt, reason string) error {
	wait, _ := acc.wrong.Fail(access.Attempt{Client: a.kind + " " + a.name, Place: a.address}, acc.ledger.Now())
	if acc.quarterHours.add(a, reason, acc.ledger.Now()) {
		if err := acc.writeFailures(ctx); err != nil {
			return err
		}
	}
	if wait > 0 {
		acc.failed.WithLabelValues(a.kind, "slowed").Inc()
		return tooManyFailures(wait)
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	if a.kind == kindSource {
		return events.Errorf(events.Unauthenticated, "%s", wrongSourceSecret)
	}
	return events.Errorf(events.Unauthenticated, "%s", wrongSecret)
}

// Run writes failed sign-ins of clients to the database, each second and when a quarter
// hour begins, until ctx ends. Then it writes the rest and returns nil. Of errors in a
// row it logs the first only, and an error after ctx has ended.
func (acc *Accounts) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	failing, ended := false, false
	for !ended {
		select {
		case <-ctx.Done():
			ended = true
		case <-acc.quarterHours.begun:
		case <-ticker.C:
		}
		err := acc.writeFailures(context.WithoutCancel(ctx)) // once more after ctx has ended
		if err != nil && (ended || !failing) {
			acc.log.Warn("failed sign-ins cannot be recorded", "cause", err)
		}
		failing = err != nil
	}
	return nil
}

// writeFailures adds the failures that were counted in memory to the database, closes the
// quarter hours that are over, and forgets old failures in a row. If there are none of
// these, it reads once and takes no write lock. After an error the failures are in memory again.
func (acc *Accounts) writeFailures(ctx context.Context) error {
	acc.quarterHours.writing.Lock()
	defer acc.quarterHours.writing.Unlock()
	now := acc.ledger.Now()
	taken := acc.quarterHours.take(now)
	if len(taken) == 0 {
		var ended bool
		err := acc.ledger.DB.Reader.QueryRowContext(ctx, `
			select exists (select 1 from failed_sign_ins where began <= ? or began > ?) or exists (select 1 from failures where time <= ?)`,
			events.FormatTime(now.Add(-quarterHourLength)), events.FormatTime(now), oldFailures(now)).Scan(&ended)
		if err != nil || !ended {
			return err
		}
	}
	err := acc.ledger.UpdateSilently(ctx, "record failed sign-ins", func(tx *ledger.Tx) error {
		for _, g := range slices.SortedFunc(maps.Keys(taken), compareGroups) {
			if err := recordInQuarterHour(tx, g, taken[g]); err != nil {
				return err
			}
		}
		if err := forgetOldFailures(tx); err != nil {
			return err
		}
		return closeQuarterHours(tx)
	})
	if err != nil {
		acc.quarterHours.putBack(taken)
	}
	return err
}

func compareGroups(a, b group) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.name, b.name), cmp.Compare(a.address, b.address))
}

// failureDetail is stored in the audit trail with failures.
type failureDetail struct {
	Kind     string `json:"kind"`
	Protocol string `json:"protocol,omitempty"`
	Name     string `json:"name,omitempty"` // that was tried
	Address  string `json:"address"`
	Reason   string `json:"reason,omitempty"`
	Since    string `json:"since,omitempty"` // when a quarter hour that is closed began
	Count    int    `json:"count,omitempty"` // of the failures in it
}

// recordInQuarterHour adds the failures in q to the group's quarter hour in the database.
// If the stored one was over at q.last, or there is none, the failures begin a new one,
// and the first of them is audited. The stored one may be over by now: failures from
// before its end are added as long as it is not closed. One that began in the future is
// of a clock that was ahead, and is over.
func recordInQuarterHour(tx *ledger.Tx, g group, q quarterHour) error {
	result, err := tx.Exec(`
		update failed_sign_ins
		set count = count + ?
		where kind = ? and protocol = ? and name = ? and address = ? and began > ? and began <= ?`,
		q.count, g.kind, g.protocol, g.name, g.address, events.FormatTime(q.last.Add(-quarterHourLength)), events.FormatTime(tx.Now))
	if err != nil || ledger.ChangedOne(result) {
		return err
	}
	if err := closeQuarterHours(tx); err != nil { // the group has one row, so the former one must go first
		return err
	}
	_, err = tx.Exec(`
		insert into failed_sign_ins (kind, protocol, name, address, began, count)
		values (?, ?, ?, ?, ?, ?)`, g.kind, g.protocol, g.name, g.address, events.FormatTime(tx.Now), q.count)
	if err != nil {
		return err
	}
	return tx.Audit(ledger.Line{
		Action: actionFailed, Subject: g.name, Address: cmp.Or(q.from, g.address, unknownAddress),
		Detail: failureDetail{Kind: g.kind, Protocol: g.protocol, Name: q.tried, Address: g.address, Reason: q.reason},
	})
}

// closeQuarterHours deletes the quarter hours in the database that are over, or that
// began in the future because the clock has been set back since. For each
// with two failures or more it adds a line with their number.
func closeQuarterHours(tx *ledger.Tx) error {
	type ended struct {
		group
		began string
		count int
	}
	over, now := events.FormatTime(tx.Now.Add(-quarterHourLength)), events.FormatTime(tx.Now)
	list, err := database.List(context.Background(), tx, func(row database.Row) (e ended, err error) {
		return e, row.Scan(&e.kind, &e.protocol, &e.name, &e.address, &e.began, &e.count)
	}, `
		select kind, protocol, name, address, began, count
		from failed_sign_ins
		where began <= ? or began > ?
		order by began, kind, protocol, name, address`, over, now)
	if err != nil || len(list) == 0 {
		return err
	}
	if _, err := tx.Exec(`delete from failed_sign_ins where began <= ? or began > ?`, over, now); err != nil {
		return err
	}
	for _, e := range list {
		if e.count < 2 {
			continue // the only failure has its line already
		}
		// Without an Address the line would have that of the attempt in this transaction.
		err := tx.Audit(ledger.Line{Action: actionFailures, Subject: e.name, Address: cmp.Or(e.address, unknownAddress), Detail: failureDetail{
			Kind: e.kind, Protocol: e.protocol, Name: e.name, Address: e.address, Since: e.began, Count: e.count,
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
