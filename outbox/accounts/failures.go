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

// Kinds of sign-ins, and the protocols of those of clients.
const (
	kindUser   = "user"
	kindClient = "client"

	overHTTP = "http"
	overNATS = "nats"
)

// attempt is an attempt to sign in.
type attempt struct {
	kind, protocol string
	name           string // that was tried; empty where it is malformed, and so not anybody's
	known          bool   // somebody has this name
	address        string // as access.Place returns it
	from           string // the address as it is
}

// lockedFailures returns how many failures in a row count against the user's attempt,
// or a Throttled Error while it is locked. A user is locked for one address only, so
// that failures from elsewhere cannot lock the owner of the name out.
func (acc *Accounts) lockedFailures(ctx context.Context, a attempt) (int, error) {
	wrong, err := findFailures(ctx, acc.ledger.DB.Reader, a)
	if err != nil || wrong.Count == 0 {
		return 0, err
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

// findFailures returns the wrong attempts that are stored for the attempt.
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

// fail records a failed attempt of a user and returns the Unauthenticated Error for it.
// The reason is for the audit trail only.
func (acc *Accounts) fail(ctx context.Context, a attempt, reason string) error {
	err := acc.ledger.Update(ctx, "record failed sign-in", func(tx *ledger.Tx) error { return recordFailure(ctx, tx, a, reason) })
	if err != nil {
		return err
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	return events.Errorf(events.Unauthenticated, "%s", wrongPassword)
}

// recordFailure counts the failure and audits it, and deletes the counts that the
// policy has forgotten, so that the table stays small.
func recordFailure(ctx context.Context, tx *ledger.Tx, a attempt, reason string) error {
	wrong, err := findFailures(ctx, tx, a)
	if err != nil {
		return err
	}
	wrong = access.LockingSignIns.Add(wrong, tx.Now)
	forgotten := events.FormatTime(tx.Now.Add(-access.LockingSignIns.Forget))
	if _, err := tx.Exec(`delete from failures where time <= ?`, forgotten); err != nil {
		return err
	}
	_, err = tx.Exec(`
		insert into failures (kind, name, address, count, time)
		values (?, ?, ?, ?, ?)
		on conflict (kind, name, address) do update
		set count = excluded.count, time = excluded.time`, a.kind, a.name, a.address, wrong.Count, events.FormatTime(wrong.Last))
	if err != nil {
		return err
	}
	if err := recordInQuarter(tx, a.group(), quarter{tried: a.name, reason: reason, from: a.from, count: 1, last: tx.Now}); err != nil {
		return err
	}
	if err := closeQuarters(tx); err != nil || !access.LockingSignIns.Slows(wrong) {
		return err
	}
	return tx.Audit(ledger.Line{
		Action: actionLocked, Subject: a.group().name,
		Detail: failureDetail{Kind: a.kind, Name: a.name, Address: a.address, Reason: reason},
	})
}

// forgetFailures sets the failures in a row to none, after a success.
func forgetFailures(tx *ledger.Tx, a attempt) error {
	_, err := tx.Exec(`
		delete from failures
		where kind = ? and name = ? and address = ?`, a.kind, a.name, a.address)
	return err
}

// Nobody who fails to sign in is known, so the lines of failures have no actor; the
// name that was tried is in the detail. The first failure of a group has its line at
// once. Those of the next quarter of an hour are counted, and the count is one further
// line when it is over. So no number of failures fills the audit trail.
//
// Failures of users, which may come from a command that ends at once, are counted in
// the database. Those of clients, which may be thousands a second, are counted in
// memory and added to the database by Run each second; if the process is killed, that
// second is lost.

// quarterHour is how long failures are counted into one line.
const quarterHour = 15 * time.Minute

// unknownAddress is the address of failures whose client's is not known.
const unknownAddress = "unknown"

// maxGroups bounds the groups in memory. Failures beyond it are one group.
const maxGroups = 1000

// group is what failures are counted by.
type group struct{ kind, protocol, name, address string }

// group returns the attempt's group. All names that nobody has are one.
func (a attempt) group() group {
	if !a.known {
		return group{a.kind, a.protocol, "", a.address}
	}
	return group{a.kind, a.protocol, a.name, a.address}
}

// quarter is the failures of a group in a quarter of an hour.
type quarter struct {
	tried, reason, from string    // of the first one
	count               int       // that are not in the database yet
	last                time.Time // of the last one
	until               time.Time // then the group's next failure is a first one
}

// quarters are the failures of clients that are counted in memory.
type quarters struct {
	mu      sync.Mutex
	byGroup map[group]quarter
	begun   chan struct{} // receives after a first failure; has room for one
}

// add counts a failure and reports whether it is the first of its group, which is to
// be written at once.
func (q *quarters) add(a attempt, reason string, now time.Time) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := a.group()
	if _, ok := q.byGroup[g]; !ok && len(q.byGroup) >= maxGroups {
		g.name, g.address = "", ""
	}
	present, ok := q.byGroup[g]
	if first = !ok || !now.Before(present.until); first && present.count == 0 {
		present = quarter{tried: a.name, reason: reason, from: a.from}
	}
	if first {
		present.until = now.Add(quarterHour)
	}
	present.count++
	present.last = now
	q.byGroup[g] = present
	return first
}

// take returns what is not in the database yet, and forgets quarters that are over.
func (q *quarters) take(now time.Time) map[group]quarter {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := make(map[group]quarter)
	for g, present := range q.byGroup {
		if present.count > 0 {
			taken[g] = present
		}
		if present.count = 0; now.Before(present.until) {
			q.byGroup[g] = present
		} else {
			delete(q.byGroup, g)
		}
	}
	return taken
}

// putBack returns what could not be written.
func (q *quarters) putBack(taken map[group]quarter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for g, before := range taken {
		before.count += q.byGroup[g].count
		q.byGroup[g] = before
	}
}

// FailedLogin records that a login of a partner to NATS failed. It does not wait for the
// database: Run writes it.
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
	if acc.quarters.add(a, reason, acc.ledger.Now()) {
		select {
		case acc.quarters.begun <- struct{}{}:
		default: // Run has not taken the one before yet
		}
	}
}

// failClient records a failed sign-in of a client over HTTP.
func (acc *Accounts) failClient(ctx context.Context, a attempt, reason string) error {
	wait, _ := acc.wrong.Fail(access.Attempt{Client: a.name, Place: a.address}, acc.ledger.Now())
	if acc.quarters.add(a, reason, acc.ledger.Now()) {
		if err := acc.writeFailures(ctx); err != nil {
			return err
		}
	}
	if wait > 0 {
		acc.failed.WithLabelValues(a.kind, "slowed").Inc()
		return tooManyFailures(wait)
	}
	acc.failed.WithLabelValues(a.kind, "refused").Inc()
	return events.Errorf(events.Unauthenticated, "%s", wrongSecret)
}

// Run writes failed sign-ins to the database until ctx ends, and returns nil then.
func (acc *Accounts) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	failing, ended := false, false
	for !ended {
		select {
		case <-ctx.Done():
			ended = true
		case <-acc.quarters.begun:
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

// writeFailures adds what was counted in memory to the database, and closes the
// quarters that are over. Without either it only reads.
func (acc *Accounts) writeFailures(ctx context.Context) error {
	taken := acc.quarters.take(acc.ledger.Now())
	if len(taken) == 0 {
		var ended bool
		err := acc.ledger.DB.Reader.QueryRowContext(ctx, `select exists (select 1 from failed_sign_ins where began <= ?)`,
			events.FormatTime(acc.ledger.Now().Add(-quarterHour))).Scan(&ended)
		if err != nil || !ended {
			return err
		}
	}
	err := acc.ledger.UpdateSilently(ctx, "record failed sign-ins", func(tx *ledger.Tx) error {
		for _, g := range slices.SortedFunc(maps.Keys(taken), compareGroups) {
			if err := recordInQuarter(tx, g, taken[g]); err != nil {
				return err
			}
		}
		return closeQuarters(tx)
	})
	if err != nil {
		acc.quarters.putBack(taken)
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
	Since    string `json:"since,omitempty"`
	Count    int    `json:"count,omitempty"`
}

// recordInQuarter adds failures to the group's count, and audits the first one if they
// begin a quarter of an hour. They may be of one that is over since, and not closed yet.
func recordInQuarter(tx *ledger.Tx, g group, q quarter) error {
	result, err := tx.Exec(`
		update failed_sign_ins
		set count = count + ?
		where kind = ? and protocol = ? and name = ? and address = ? and began > ?`,
		q.count, g.kind, g.protocol, g.name, g.address, events.FormatTime(q.last.Add(-quarterHour)))
	if err != nil || ledger.ChangedOne(result) {
		return err
	}
	if err := closeQuarters(tx); err != nil { // the group's former one is over
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

// closeQuarters ends the quarters that are over. Those with more than the failure that
// has its line already become a line with the count of all.
func closeQuarters(tx *ledger.Tx) error {
	type ended struct {
		group
		began string
		count int
	}
	over := events.FormatTime(tx.Now.Add(-quarterHour))
	list, err := database.List(context.Background(), tx, func(row database.Row) (e ended, err error) {
		return e, row.Scan(&e.kind, &e.protocol, &e.name, &e.address, &e.began, &e.count)
	}, `
		select kind, protocol, name, address, began, count
		from failed_sign_ins
		where began <= ?
		order by began, kind, protocol, name, address`, over)
	if err != nil || len(list) == 0 {
		return err
	}
	if _, err := tx.Exec(`delete from failed_sign_ins where began <= ?`, over); err != nil {
		return err
	}
	for _, e := range list {
		if e.count < 2 {
			continue
		}
		// Not the address of the attempt that this is written with.
		err := tx.Audit(ledger.Line{Action: actionFailures, Subject: e.name, Address: cmp.Or(e.address, unknownAddress), Detail: failureDetail{
			Kind: e.kind, Protocol: e.protocol, Name: e.name, Address: e.address, Since: e.began, Count: e.count,
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
