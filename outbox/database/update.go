package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
)

// maxSharing is for how long a shared transaction accepts further updates, so
// that the first update does not wait long for the last. It ends earlier with an
// empty queue, or with as many updates as the system allows.
const maxSharing = 10 * time.Millisecond

// group is the queue of updates that will share a commit.
//
// A commit waits for the disk, which takes far longer than an update. So while
// one transaction is committed, the next updates queue, and then share one commit.
// There is no writer goroutine: one of the callers leads, that is, runs all that
// is queued, its own update included, and commits. So a single caller pays for no
// switch to another goroutine and back.
type group struct {
	lead chan struct{} // capacity 1; the caller whose value is in it leads

	mu     sync.Mutex
	queue  []*request
	closed bool
}

// request is one queued update.
type request struct {
	ctx   context.Context
	fn    func(*sqlx.Tx) error
	state atomic.Int32  // waiting until claimed by the leader or abandoned by its caller
	done  chan struct{} // closed when err and panic are final
	err   error
	panic any
}

const (
	waiting int32 = iota
	claimed
	givenUp
)

func newGroup() group { return group{lead: make(chan struct{}, 1)} }

// Update runs fn in a write transaction and returns once that is committed.
// Concurrent callers share a transaction, and with it the wait for the disk:
// each fn runs alone, one after the other, in a savepoint; one that returns an
// error or panics is undone alone, and its caller gets the error or the panic.
// For a caller whose ctx ends before its turn, Update returns the ctx's cause
// and fn does not run; once fn has started, Update waits for the outcome.
//
// Fn must neither keep tx nor commit it, and must return any error of a
// statement. It should use a ctx without cancellation, because an interrupted
// statement undoes what the others did.
func (db *DB) Update(ctx context.Context, fn func(tx *sqlx.Tx) error) error {
	r := &request{ctx: ctx, fn: fn, done: make(chan struct{})}
	if err := db.group.add(r); err != nil {
		return err
	}
	select {
	case <-r.done:
	case db.group.lead <- struct{}{}:
		db.leadUntil(r)
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, givenUp) {
			return context.Cause(ctx)
		}
		<-r.done
	}
	if r.panic != nil {
		panic(r.panic)
	}
	return r.err
}

// Queued returns how many updates wait for their turn.
func (db *DB) Queued() int {
	db.group.mu.Lock()
	defer db.group.mu.Unlock()
	return len(db.group.queue)
}

func (g *group) add(r *request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.queue = append(g.queue, r)
	return nil
}

// next returns the request whose turn it is, nil when none waits.
func (g *group) next() *request {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.queue) > 0 {
		r := g.queue[0]
		g.queue[0] = nil
		g.queue = g.queue[1:]
		if r.state.CompareAndSwap(waiting, claimed) {
			return r
		}
	}
	return nil
}

// close refuses new requests and returns when the last old one is answered.
func (g *group) close() {
	g.mu.Lock()
	g.closed = true
	queued := slices.Clone(g.queue)
	g.mu.Unlock()
	for _, r := range queued {
		select {
		case <-r.done:
		case <-r.ctx.Done():
		}
	}
	g.lead <- struct{}{} // the running transaction is over
	<-g.lead
}

// leadUntil runs shared transactions until r is answered, and then lets another
// caller lead. Others are ahead of r in the queue, so one may not be enough.
func (db *DB) leadUntil(r *request) {
	defer func() { <-db.group.lead }()
	for {
		select {
		case <-r.done:
			return
		default:
			db.share(db.group.next()) // r is queued until it is answered, so there is one
		}
	}
}

// share runs first and the requests that are queued after it in one transaction.
func (db *DB) share(first *request) {
	s := &shared{system: db.system}
	defer s.answer()
	tx, err := db.system.Begin(context.Background())
	if err != nil {
		s.requests = append(s.requests, first)
		s.err = s.explain("begin transaction", err)
		return
	}
	s.tx = tx
	start := time.Now()
	for r := first; r != nil; r = db.group.next() {
		s.run(r)
		if s.err != nil || len(s.requests) >= db.system.MaxShared() || time.Since(start) > maxSharing {
			break
		}
	}
}

// shared is a transaction and those who share it.
type shared struct {
	system   System
	tx       *sqlx.Tx
	requests []*request
	changed  bool  // a request before has changed something
	err      error // of the transaction itself; all requests fail with it

	// Prepared for the second request and closed with the transaction: as text
	// they would cost a tenth of a sign-off.
	savepoint, release *sql.Stmt
}

// run runs one request in a savepoint, so that it can be undone alone. As long as
// nothing was changed before it, it needs none: undoing it is undoing the
// transaction. An error of the savepoint itself ends the transaction for all.
func (s *shared) run(r *request) {
	s.requests = append(s.requests, r)
	if err := context.Cause(r.ctx); err != nil {
		r.err = err
		return
	}
	alone := !s.changed
	if !alone {
		if s.err = s.openSavepoint(); s.err != nil {
			return
		}
	}
	finished := false
	defer func() {
		if !finished { // fn panicked, or ended its goroutine
			if r.panic = recover(); r.panic == nil {
				r.err = errors.New("the update ended its goroutine")
				s.err = r.err
			}
		}
		s.err = errors.Join(s.err, s.settle(alone, r.err == nil && r.panic == nil))
	}()
	r.err = s.system.Explain(r.fn(s.tx))
	finished = true
}

// settle keeps or undoes what a request did.
func (s *shared) settle(alone, keep bool) error {
	switch {
	case keep && alone:
		s.changed = true
		return nil
	case keep:
		_, err := s.release.ExecContext(context.Background())
		return s.explain("release savepoint", err)
	case alone:
		// There is no savepoint to roll back to, so the transaction begins
		// again. Nothing of others is lost, because they have changed nothing.
		return s.system.Restart(s.tx)
	default:
		_, err := s.tx.Exec("rollback to savepoint shared; release savepoint shared")
		return s.explain("roll back to savepoint", err)
	}
}

func (s *shared) openSavepoint() (err error) {
	if s.savepoint == nil {
		if s.savepoint, err = s.tx.Tx.Prepare("savepoint shared"); err != nil {
			return s.explain("prepare savepoint", err)
		}
		if s.release, err = s.tx.Tx.Prepare("release savepoint shared"); err != nil {
			return s.explain("prepare savepoint", err)
		}
	}
	_, err = s.savepoint.ExecContext(context.Background())
	return s.explain("open savepoint", err)
}

// explain wraps an error of the transaction itself with what was being done.
func (s *shared) explain(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", verb, s.system.Explain(err))
}

// answer commits, or rolls back if the transaction failed, and answers all
// requests. Those that were not undone alone succeed or fail together.
func (s *shared) answer() {
	switch {
	case s.tx == nil:
	case s.err != nil:
		_ = s.tx.Rollback() // the system may have done so by itself
	default:
		if err := s.tx.Commit(); err != nil {
			s.err = s.explain("commit", err)
		}
	}
	for _, r := range s.requests {
		if r.err == nil {
			r.err = s.err
		}
		close(r.done)
	}
}
