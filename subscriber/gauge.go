package subscriber

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// How soon the broker is asked what is outstanding while there is a reason to
// ask soon: at first, and then twice as long each time.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// errQuiet ends a session that has come to the end of the study's events.
var errQuiet = errors.New("nothing is outstanding")

// errIdle ends a session in which events wait at the broker and none comes.
var errIdle = errors.New("the broker holds more events, but none arrives")

// gauge judges what the broker says is outstanding.
type gauge struct {
	interval time.Duration
	toTheEnd bool      // look often, until nothing is outstanding
	lossy    time.Time // until then the broker may send to a connection that is gone
	arrived  bool      // something, since the last look
	waiting  time.Time // since when the broker has had events and sent none; zero if it has not
	missing  int       // looks in a row that found a hole that cannot be filled
	losses   int       // looks in a row that found something lost
	doubted  time.Time // since when the bookmark has been ahead of the log; zero if it has not
	certain  time.Duration
	looks    int // since there is a reason to look soon
}

func newGauge(cfg PartnerConfig, toTheEnd bool) gauge {
	return gauge{
		interval: cfg.Interval, toTheEnd: toTheEnd, lossy: time.Now().Add(pullExpiry + pulse), certain: min(cfg.Patience, aheadFor),
	}
}

// aheadFor is how long a bookmark must be ahead of the log before that is an
// error. Until then nothing is acknowledged: a replica may be behind.
const aheadFor = 5 * time.Second

// read returns that the bookmark is ahead of the log, a Gap that was found twice,
// or an outage when the broker has events but does not deliver them.
func (g *gauge) read(info *jetstream.ConsumerInfo, o *order) error {
	if err := o.beyondEnd(info); err != nil {
		return g.doubt(err)
	}
	g.doubted = time.Time{}
	if g.toTheEnd && g.quiet(info, o) {
		return errQuiet
	}
	if g.idle(info, o) {
		return outage{errIdle}
	}
	g.arrived = false
	err := o.missing(info.Delivered.Stream, info.NumAckPending)
	if err == nil {
		g.missing = 0
		return nil
	}
	if g.missing++; g.missing < 2 {
		return nil
	}
	return err
}

// quiet reports whether all is handled and acknowledged, but for repeats that
// nothing contradicts and that the next event will settle.
func (g *gauge) quiet(info *jetstream.ConsumerInfo, o *order) bool {
	repeats := len(o.repeats)
	return info.NumPending == 0 && info.NumAckPending == repeats && (repeats == 0 || !g.arrived)
}

// doubt returns the error once it has stood long enough.
func (g *gauge) doubt(err error) error {
	if g.doubted.IsZero() {
		g.doubted = time.Now()
	}
	g.arrived = false
	if time.Since(g.doubted) < g.certain {
		return nil
	}
	return err
}

// idle reports whether the broker has had events for as long as the interval
// without delivering any.
func (g *gauge) idle(info *jetstream.ConsumerInfo, o *order) bool {
	switch {
	case g.arrived || info.NumPending == 0 || len(o.ahead) > 0 || g.toTheEnd:
		g.waiting = time.Time{}
	case g.waiting.IsZero():
		g.waiting = time.Now()
	default:
		return time.Since(g.waiting) >= g.interval
	}
	return false
}

// lost reports whether the broker waits for acknowledgements of messages that
// are not on their way any more. It looks soon again then: what is sent once
// more may be lost once more.
func (g *gauge) lost(info *jetstream.ConsumerInfo, o *order) bool {
	if g.arrived || info.NumAckPending <= o.kept() {
		g.losses = 0
		return false
	}
	if g.losses++; g.losses == 1 {
		g.looks = 0
	}
	return true
}

// pause is the time to the next look.
func (g *gauge) pause(o *order) time.Duration {
	if len(o.ahead) == 0 {
		g.missing = 0
	}
	if len(o.ahead) == 0 && g.losses == 0 && g.doubted.IsZero() && !g.toTheEnd && time.Now().After(g.lossy) {
		g.looks = 0
		return g.interval
	}
	g.looks++
	return min(firstLook<<min(g.looks-1, 10), lastLook, g.interval)
}
