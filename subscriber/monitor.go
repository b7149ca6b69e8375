package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// How soon the broker is asked what is outstanding while there is a reason to
// ask soon: at first, and then twice as long each time.
const (
	firstCheck = 50 * time.Millisecond
	lastCheck  = time.Second
)

// aheadFor is how long a bookmark must be ahead of the log before that is an
// error. Until then nothing is acknowledged: a replica may be behind.
const aheadFor = 5 * time.Second

// How many of the newest messages, and how many of all, are requested again after
// one check at the most; see requestLost.
const (
	maxNewest = 100
	maxInTurn = 200
)

// errCaughtUp ends a session that has reached the end of the study's events.
var errCaughtUp = errors.New("nothing is outstanding")

// errIdle ends a session in which the broker has events and delivers none.
var errIdle = errors.New("the broker has more events, but none arrives")

// monitor asks the broker from time to time what is outstanding, while events are
// being handled: that nothing arrives does not mean that there is nothing.
type monitor struct {
	f       *following
	from    jetstream.Consumer
	timer   *time.Timer
	answers chan consumerState
	asking  bool

	lossyUntil time.Time // until then the broker may send to a connection that was lost
	arrived    bool      // a message, since the last check
	idleSince  time.Time // since then the broker has had events and delivered none; zero if not
	aheadSince time.Time // since then the bookmark has been ahead of the log; zero if not
	gaps       int       // checks in a row that found a gap that cannot be filled
	losses     int       // checks in a row that found lost messages
	checks     int       // since there has been a reason to check soon
	requested  uint64    // stream sequence of the last message that was requested again in its turn
}

// consumerState is the broker's answer.
type consumerState struct {
	info *jetstream.ConsumerInfo
	err  error
}

func newMonitor(f *following, from jetstream.Consumer) *monitor {
	m := &monitor{f: f, from: from, answers: make(chan consumerState, 1), lossyUntil: time.Now().Add(pullExpiry + pullHeartbeat)}
	m.timer = time.NewTimer(m.pause())
	return m
}

// ask requests the state of the consumer, unless an answer is awaited or the
// connection is lost.
func (m *monitor) ask(ctx context.Context) {
	if m.asking || !m.f.p.nc.IsConnected() {
		m.schedule()
		return
	}
	m.asking = true
	go func() {
		info, err := m.f.consumer.info(ctx, m.from)
		m.answers <- consumerState{info, err} // never blocks: only one request runs at a time
	}()
}

// schedule sets when to ask next.
func (m *monitor) schedule() { m.timer.Reset(m.pause()) }

// hurry makes the next check soon.
func (m *monitor) hurry() {
	m.checks = 0
	m.schedule()
}

// pause returns the time until the next check. While there is a reason to check soon,
// it counts the checks, and returns a short time that doubles with each. So it must be
// called once each time that the timer is set.
func (m *monitor) pause() time.Duration {
	early := len(m.f.order.early) > 0
	if !early {
		m.gaps = 0
	}
	interval := m.f.p.cfg.Interval
	if !early && m.losses == 0 && m.aheadSince.IsZero() && !m.f.toTheEnd && time.Now().After(m.lossyUntil) {
		m.checks = 0
		return interval
	}
	m.checks++
	return min(firstCheck<<min(m.checks-1, 10), lastCheck, interval)
}

// handle acts on an answer of the broker. Queued is whether messages have arrived that
// are not handled yet. While the connection is lost, a failed request does not end
// the session: the messages that have arrived are handled first.
func (m *monitor) handle(s consumerState, queued bool) error {
	m.asking = false
	m.arrived = m.arrived || queued
	defer m.schedule()
	switch {
	case s.err == nil:
		m.f.report(nil)
		m.requestLost(s.info)
		return m.check(s.info)
	case errors.As(s.err, new(outage)) && !m.f.p.nc.IsConnected():
		return nil
	}
	return s.err
}

// check returns an error that ends the session: Ahead if the bookmark has been ahead
// of the log for aheadFor (or Patience, if that is shorter), a Gap if two checks in a row
// have found it, errCaughtUp if all events are handled and CatchUp waits for that, and an
// outage if the broker has events but does not deliver them.
func (m *monitor) check(info *jetstream.ConsumerInfo) error {
	o := m.f.order
	if err := o.beyondEnd(info); err != nil {
		m.arrived = false
		now := m.f.p.cfg.Clock()
		if m.aheadSince.IsZero() {
			m.aheadSince = now
		}
		if now.Sub(m.aheadSince) < min(m.f.p.cfg.Patience, aheadFor) {
			return nil
		}
		return err
	}
	m.aheadSince = time.Time{}
	if m.f.toTheEnd && m.caughtUp(info) {
		return errCaughtUp
	}
	if m.idle(info) {
		return outage{errIdle}
	}
	m.arrived = false
	err := o.missing(info.Delivered.Stream, info.NumAckPending)
	if err == nil {
		m.gaps = 0
		return nil
	}
	if m.gaps++; m.gaps < 2 { // what fills it may be on its way
		return nil
	}
	return err
}

// caughtUp reports whether all events are handled and acknowledged. Repeats that are
// kept until the bookmark is confirmed do not count: all events that could confirm it
// are acknowledged, except one that was received since the last check.
func (m *monitor) caughtUp(info *jetstream.ConsumerInfo) bool {
	repeats := len(m.f.order.repeats)
	return info.NumPending == 0 && info.NumAckPending == repeats && (repeats == 0 || !m.arrived)
}

// idle reports whether the broker has had events for as long as the interval
// without delivering any. It is always false while early events wait.
func (m *monitor) idle(info *jetstream.ConsumerInfo) bool {
	switch {
	case m.arrived || info.NumPending == 0 || len(m.f.order.early) > 0:
		m.idleSince = time.Time{}
	case m.idleSince.IsZero():
		m.idleSince = time.Now()
	default:
		return time.Since(m.idleSince) >= m.f.p.cfg.Interval
	}
	return false
}

// requestLost requests again the messages that the broker has sent to a lost
// connection, so that it delivers them at once and not only after the ack wait. There
// are such messages if none has arrived since the last check and more are
// unacknowledged than are kept in the order. On a cluster they may become more until
// the requests of the lost connection expire, because the consumer may run on a server
// that does not notice the loss.
//
// Which messages are lost is unknown. All are between the acknowledgement floor and
// the last message delivered. Of these it requests the newest at each check, and
// all of them in turn. The broker ignores a stream sequence that is not the consumer's
// or was not sent.
func (m *monitor) requestLost(info *jetstream.ConsumerInfo) {
	waiting := m.f.order.waiting()
	if m.arrived || info.NumAckPending <= waiting {
		m.losses = 0
		return
	}
	if m.losses++; m.losses == 1 {
		m.checks = 0 // check soon again: what is sent once more may be lost once more
	}
	lost := uint64(max(1, info.NumAckPending-waiting))
	first, last := info.AckFloor.Stream+1, info.Delivered.Stream
	candidates := last + 1 - min(first, last+1) // stream sequences, also of other studies
	for i := range min(2*lost, maxNewest, candidates) {
		m.requestAgain(last-i, info, 0.5)
	}
	for range min(maxInTurn, candidates) {
		if m.requested++; m.requested < first || m.requested > last {
			m.requested = first
		}
		if !m.requestAgain(m.requested, info, 0.75) {
			m.requested-- // the next check begins with this one
			return
		}
	}
}

// requestAgain requests a message again by a negative acknowledgement, in the form that
// the broker expects. It reports false, and requests nothing, if less than the share of
// the quota is left: the events that do arrive, of all studies, need the rest. For a
// message that is kept in the order it reports true without a request.
func (m *monitor) requestAgain(streamSequence uint64, info *jetstream.ConsumerInfo, share float64) bool {
	quota := m.f.p.quota
	switch {
	case m.f.order.isWaiting(streamSequence):
		return true
	case quota.Tokens() < share*float64(quota.Burst()) || !quota.Allow():
		return false
	}
	subject := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", events.Stream, m.f.durable, streamSequence, info.Delivered.Consumer)
	_ = m.f.p.nc.Publish(subject, []byte("-NAK")) // if it is lost, the broker delivers after the ack wait
	return true
}
