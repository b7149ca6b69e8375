package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// The clock is checked by what is stored: the time of the last event and the one row of
// the table clock. That row has three times:
//   - noted, when a server last found the clock right (NoteTime);
//   - accepted, when an operator last said that it is right (AcceptClock);
//   - ceiling, up to which times of events are those of a clock that was ahead.
//
// An event after accepted and not after ceiling says nothing about the time. Its study
// was signed by a clock that was ahead, and its next events follow a microsecond apart.

// Limits of the clock in CheckClock.
const (
	maxBehind = 5 * time.Minute // behind the outbox's last event
	maxAhead  = 24 * time.Hour  // ahead of both the last event and the noted time
)

// afterAccepted is how far the ceiling is after the latest event, if that is ahead of an
// accepted clock. It leaves room for the events that follow a microsecond apart.
const afterAccepted = time.Hour

// actionClock is the action of the line by which an operator accepts the clock.
const actionClock = "clock.accepted"

// CheckClock returns a Conflict if the transaction's time is more than five minutes
// behind the outbox's last event. It also does so if that time is more than a day ahead
// both of that event and of the noted time. If the last event is of a clock that was
// ahead (see above), the accepted time takes its place.
//
// The last event is the last one of a clinical study. Internal studies count only where
// there is none: a partner that is added by a wrong clock must not make that clock right.
func (tx *Tx) CheckClock() error {
	var texts [4]string
	err := tx.QueryRow(`
		select c.noted, c.accepted, c.ceiling, coalesce((
				select e.time
				from events e
				join studies s on s.row = e.study
				where substr(s.study, 1, 1) <> '_'
				order by e.row desc
				limit 1
			), (
				select time
				from events
				order by row desc
				limit 1
			), '')
		from clock c`).Scan(&texts[0], &texts[1], &texts[2], &texts[3])
	if err != nil {
		return fmt.Errorf("check clock: %w", err)
	}
	var times [len(texts)]time.Time
	for i, text := range texts {
		if text == "" {
			continue
		}
		if times[i], err = events.ParseTime(text); err != nil {
			return fmt.Errorf("check clock: %w", err)
		}
	}
	noted, accepted, ceiling, last := times[0], times[1], times[2], times[3]
	if last.After(accepted) && !last.After(ceiling) {
		last = accepted
	}
	const remedy = "correct the clock or, if it is right, run signoff clock accept"
	if behind := last.Sub(tx.Now); behind > maxBehind {
		return clockError{events.Errorf(events.Conflict, "the clock shows %s, but the last event is of %s: %s",
			events.FormatTime(tx.Now), events.FormatTime(last), remedy)}
	}
	latest := last
	if noted.After(latest) {
		latest = noted
	}
	if !latest.IsZero() && tx.Now.Sub(latest) > maxAhead {
		return clockError{events.Errorf(events.Conflict, "the clock shows %s, more than a day after the last event or note of the time, %s: %s",
			events.FormatTime(tx.Now), events.FormatTime(latest), remedy)}
	}
	return nil
}

// ErrClock is the error that the Conflict of CheckClock is: only an operator can help.
var ErrClock = errors.New("the clock is wrong")

// clockError is a Conflict that is ErrClock.
type clockError struct{ conflict *events.Error }

func (e clockError) Error() string        { return e.conflict.Error() }
func (e clockError) Unwrap() error        { return e.conflict }
func (e clockError) Is(target error) bool { return target == ErrClock }

// clockWatch compares the wall clock with a clock that is never set, to find out whether
// the wall clock was set.
type clockWatch struct {
	elapsed func() time.Duration

	mu       sync.Mutex
	wall     time.Time     // wall clock when the time was last noted, or at the start
	at       time.Duration // elapsed at that moment
	accepted string        // clock.accepted when the time was last noted, or at the start
}

// start begins the comparison now. Without elapsed it uses the process's monotonic clock.
// The text accepted is the stored time at which the clock was accepted last.
func (w *clockWatch) start(elapsed func() time.Duration, now time.Time, accepted string) {
	if elapsed == nil {
		opened := time.Now()
		elapsed = func() time.Duration { return time.Since(opened) }
	}
	w.elapsed, w.wall, w.at, w.accepted = elapsed, now, elapsed(), accepted
}

// maxDrift is how far the wall clock may move from the other one between two calls of
// NoteTime that store the time.
const maxDrift = 5 * time.Second

// NoteTime stores the time as one at which the clock was right.
//
// It stores nothing and returns a Conflict if the wall clock was set since NoteTime last
// stored a time, or since the ledger was opened. It does store the time if the clock was
// set back to what it was, or if an operator has accepted the clock since. It also
// returns the Conflict of CheckClock, so that a server that is started with a wrong clock
// does not make that clock right.
func (l *Ledger) NoteTime(ctx context.Context) error {
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	return l.UpdateSilently(ctx, "note the time", func(tx *Tx) error {
		var accepted string
		if err := tx.QueryRow(`select accepted from clock`).Scan(&accepted); err != nil {
			return err
		}
		elapsed := l.watch.elapsed()
		drift := tx.Now.Sub(l.watch.wall) - (elapsed - l.watch.at)
		if drift.Abs() > maxDrift && accepted == l.watch.accepted {
			return events.Errorf(events.Conflict, "the clock was set by %s: correct it or, if it is right, run signoff clock accept", drift)
		}
		if err := tx.CheckClock(); err != nil {
			return err
		}
		l.watch.wall, l.watch.at, l.watch.accepted = tx.Now, elapsed, accepted
		_, err := tx.Exec(`update clock set noted = ?`, events.FormatTime(tx.Now))
		return err
	})
}

// AcceptClock records that an operator, named by, says that the clock is right, and
// returns the time that it shows. If there are events ahead of that time, it sets the
// ceiling so that they no longer count in CheckClock.
func (l *Ledger) AcceptClock(ctx context.Context, by string) (now time.Time, err error) {
	err = l.Administer(ctx, by, "accept the clock", func(tx *Tx) error {
		now = tx.Now
		var latest string
		if err := tx.QueryRow(`select coalesce(max(time), '') from studies`).Scan(&latest); err != nil {
			return err
		}
		ceiling := now
		if latest != "" {
			at, err := events.ParseTime(latest)
			if err != nil {
				return err
			}
			if at.After(now) {
				ceiling = at.Add(afterAccepted)
			}
		}
		detail := struct {
			Clock string `json:"clock"`
			Last  string `json:"last,omitempty"` // the latest event of all studies
		}{events.FormatTime(now), latest}
		line, err := tx.AddLine(Line{Actor: by, Action: actionClock, Detail: detail})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update clock set noted = ?, accepted = ?, ceiling = ?, line = ?`,
			events.FormatTime(now), events.FormatTime(now), events.FormatTime(ceiling), line)
		return err
	})
	return now, err
}
