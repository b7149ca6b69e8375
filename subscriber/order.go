package subscriber

import (
	"github.com/seed-e88a4ece/signoff/events"
)

// arrival is an event as a consumer delivers it. A durable consumer delivers
// again what is not acknowledged in time, and so not always in order.
type arrival struct {
	event          events.Event
	streamSequence uint64
	pending        uint64
	message        acknowledger

	deliveries uint64 // of this event by the consumer, so far
}

// acknowledger is the part of a message that answers the broker.
type acknowledger interface {
	Ack() error // the event was handled
	Nak() error // deliver it again
}

func (a arrival) bookmark() Bookmark {
	return Bookmark{Number: a.event.Number, Hash: a.event.Hash, StreamSequence: a.streamSequence}
}

// verdict is what to do with an arrival.
type verdict int

const (
	keep    verdict = iota // until the events before it have arrived, or the bookmark is confirmed
	deliver                // it directly follows the stored bookmark
	skip                   // it was delivered before, and is the same
)

// order puts the events of one study in order. Deliveries may be repeated and
// may come in any order; the log may not.
type order struct {
	studyKey string
	start    Bookmark // what was stored at first
	stored   Bookmark
	traces   map[uint64]trace   // by number, around stored
	early    map[uint64]arrival // by number: they wait for events before them

	confirmed bool               // the log was seen to contain the event of stored
	repeats   map[uint64]arrival // by stream sequence: they wait until confirmed
	length    uint64             // the log has at least that many events of the study, according to the repeats
	limit     uint64             // that many events can be kept as repeats
}

// trace is what was seen of an event: its hash, from itself or from the one
// after it, and its stream sequence, which is 0 until the event itself was seen.
type trace struct {
	hash           string
	streamSequence uint64
}

// maxTraces is for how many events before the stored one the hash is remembered.
const maxTraces = 4096

func newOrder(studyKey string, stored Bookmark) *order {
	o := &order{
		studyKey: studyKey, start: stored, stored: stored,
		traces: make(map[uint64]trace), early: make(map[uint64]arrival), repeats: make(map[uint64]arrival),
	}
	o.traces[0] = trace{hash: events.NoHash}
	if stored.Number > 0 {
		o.traces[stored.Number] = trace{hash: stored.Hash, streamSequence: stored.StreamSequence}
	}
	return o
}

// judge decides what to do with an arrival, and keeps it if it has to wait;
// settled returns the repeats that no longer have to. The code of an error is
// Gap, Repeat, Reorder, Altered or Invalid, as in events.ChainHead.Follow.
func (o *order) judge(a arrival) (verdict, error) {
	e := a.event
	if e.Study != o.studyKey {
		return 0, events.Errorf(events.Invalid, "an event of %s arrived among those of %s", e.Study, o.studyKey)
	}
	if err := e.Verify(); err != nil {
		return 0, err
	}
	if err := o.compare(a); err != nil {
		return 0, err
	}
	o.remember(a)
	switch {
	case e.Number <= o.stored.Number:
		return o.repeat(a), nil
	case e.Number == o.stored.Number+1:
		o.confirmed = true // compare has compared its previous hash with that of the stored event
		return deliver, nil
	default:
		o.early[e.Number] = a
		return keep, nil
	}
}

// compare returns an error if an arrival contradicts what was seen before.
func (o *order) compare(a arrival) error {
	e, n := a.event, a.event.Number
	if seen, ok := o.traces[n]; ok {
		if seen.hash != e.Hash {
			return o.contradiction(events.Altered, n, seen.hash, "on the log event %d has hash %s", n, e.Hash)
		}
		if seen.streamSequence != 0 && seen.streamSequence != a.streamSequence {
			code := events.Repeat
			if n < o.stored.Number {
				code = events.Reorder
			}
			return o.contradiction(code, n, e.Hash, "it is in the stream twice, as message %d and %d", seen.streamSequence, a.streamSequence)
		}
	}
	if seen, ok := o.traces[n-1]; ok && seen.hash != e.PreviousHash {
		return o.contradiction(events.Altered, n-1, seen.hash, "on the log the previous hash of event %d is %s", n, e.PreviousHash)
	}
	for _, b := range []Bookmark{o.start, o.stored} {
		if err := o.checkOrder(a, b.Number, b.StreamSequence); err != nil {
			return err
		}
	}
	for _, b := range o.early {
		if err := o.checkOrder(a, b.event.Number, b.streamSequence); err != nil {
			return err
		}
	}
	return nil
}

// checkOrder returns an error if numbers and stream sequences do not rise
// together. Delivery cannot cause that: the log itself is not in order.
func (o *order) checkOrder(a arrival, number, streamSequence uint64) error {
	n := a.event.Number
	if streamSequence == 0 || n == number || (n < number) == (a.streamSequence < streamSequence) {
		return nil
	}
	return o.contradiction(events.Reorder, number, o.traces[number].hash,
		"as message %d, and on the log event %d with hash %s is message %d: it is out of order, or another log than before",
		streamSequence, n, a.event.Hash, a.streamSequence)
}

func (o *order) remember(a arrival) {
	n := a.event.Number
	o.traces[n] = trace{hash: a.event.Hash, streamSequence: a.streamSequence}
	if _, ok := o.traces[n-1]; !ok {
		o.traces[n-1] = trace{hash: a.event.PreviousHash}
	}
	if len(o.traces) < 3*maxTraces {
		return
	}
	for number := range o.traces {
		if number+maxTraces < o.stored.Number && number != n && number+1 != n {
			delete(o.traces, number)
		}
	}
}

// advance notes that an event was handled, and returns the one that follows it if
// it has arrived.
func (o *order) advance(to Bookmark) (arrival, bool) {
	o.stored = to
	a, ok := o.early[to.Number+1]
	delete(o.early, to.Number+1)
	return a, ok
}

// waiting returns how many messages are kept here, unacknowledged.
func (o *order) waiting() int { return len(o.early) + len(o.repeats) }

// isWaiting reports whether the message with that stream sequence is kept here.
func (o *order) isWaiting(streamSequence uint64) bool {
	if _, ok := o.repeats[streamSequence]; ok {
		return true
	}
	for _, a := range o.early {
		if a.streamSequence == streamSequence {
			return true
		}
	}
	return false
}

// unacknowledged returns the messages that are kept here.
func (o *order) unacknowledged() []acknowledger {
	var all []acknowledger
	for _, a := range o.early {
		all = append(all, a.message)
	}
	for _, a := range o.repeats {
		all = append(all, a.message)
	}
	return all
}

// missing returns a Gap if the events between the stored one and those that wait
// cannot arrive any more. The consumer has delivered everything up to message
// delivered, and of that so many are not acknowledged: if those are the ones
// that wait here, nothing is left that could fill the gap.
func (o *order) missing(delivered uint64, unacknowledged int) error {
	var first uint64
	waiting := 0
	for number, a := range o.early {
		if a.streamSequence > delivered {
			continue
		}
		if waiting++; first == 0 || number < first {
			first = number
		}
	}
	if waiting == 0 || waiting+len(o.repeats) < unacknowledged {
		return nil
	}
	return events.Errorf(events.Gap,
		"study %s: events %d to %d are missing before %d, and the consumer has nothing that could fill the gap; report it to the publisher",
		o.studyKey, o.stored.Number+1, first-1, first)
}
