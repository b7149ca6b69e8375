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
	start    Bookmark             // with which the order was made
	stored   Bookmark             // of the last event that was handled
	seen     map[uint64]seenEvent // by number; what is known of the events around stored
	early    map[uint64]arrival   // by number; they wait for events before them

	confirmed  bool               // the log was seen to contain the event of stored
	repeats    map[uint64]arrival // by stream sequence; arrivals up to the number of stored, until confirmed
	minEvents  uint64             // the log has at least that many events of the study, according to the repeats
	maxRepeats uint64             // so many repeats can be kept
}

// seenEvent is what is known of an event. The hash is from the event itself or from
// the previous hash of the one after it. The stream sequence is 0 until the event
// itself has arrived.
type seenEvent struct {
	hash           string
	streamSequence uint64
}

// maxSeen is how far before the stored event an event stays in order.seen at least. It
// also bounds the repeats.
const maxSeen = 4096

// newOrder returns an order that continues behind the stored Bookmark; see beginSession.
func newOrder(studyKey string, stored Bookmark) *order {
	o := &order{
		studyKey: studyKey, start: stored, stored: stored,
		seen: make(map[uint64]seenEvent), early: make(map[uint64]arrival), repeats: make(map[uint64]arrival),
	}
	o.seen[0] = seenEvent{hash: events.NoHash}
	if stored.Number > 0 {
		o.seen[stored.Number] = seenEvent{hash: stored.Hash, streamSequence: stored.StreamSequence}
	}
	return o
}

// judge decides what to do with an arrival, and keeps it if it has to wait. The
// caller then calls takeConfirmedRepeats. The code of an error is Repeat, Reorder,
// Altered or Invalid; missing detects a Gap.
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
		return o.judgeRepeat(a), nil
	case e.Number == o.stored.Number+1:
		o.confirmed = true // compare has compared its previous hash with that of the stored event
		return deliver, nil
	default:
		o.early[e.Number] = a
		return keep, nil
	}
}

// compare returns an error if an arrival contradicts what was seen before: if its
// number, hash and stream sequence are not those of the same event, its previous
// hash is not that of the event before it, or its place in the stream does not fit
// its number.
func (o *order) compare(a arrival) error {
	e, n := a.event, a.event.Number
	if seen, ok := o.seen[n]; ok {
		if seen.hash != e.Hash {
			return o.contradiction(events.Altered, n, seen.hash, "on the log event %d has hash %s", n, e.Hash)
		}
		if seen.streamSequence != 0 && seen.streamSequence != a.streamSequence {
			// The codes are those of events.ChainHead.Follow: a copy of the last
			// event is a Repeat, a copy that later events have preceded a Reorder.
			code := events.Repeat
			if n < o.stored.Number {
				code = events.Reorder
			}
			return o.contradiction(code, n, e.Hash, "it is in the stream twice, as message %d and %d", seen.streamSequence, a.streamSequence)
		}
	}
	if seen, ok := o.seen[n-1]; ok && seen.hash != e.PreviousHash {
		return o.contradiction(events.Altered, n-1, seen.hash, "on the log the previous hash of event %d is %s", n, e.PreviousHash)
	}
	// An event between start and stored must stand between these two in the stream.
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

// checkOrder compares the arrival with another event of the study. It returns an
// error if the one with the higher number does not have the higher stream sequence.
// Deliveries in another order cannot cause that: the log itself is not in order.
func (o *order) checkOrder(a arrival, number, streamSequence uint64) error {
	n := a.event.Number
	// A stream sequence of 0 is unknown.
	if streamSequence == 0 || n == number || (n < number) == (a.streamSequence < streamSequence) {
		return nil
	}
	return o.contradiction(events.Reorder, number, o.seen[number].hash,
		"as message %d, and on the log event %d with hash %s is message %d: it is out of order, or another log than before",
		streamSequence, n, a.event.Hash, a.streamSequence)
}

// remember stores what an arrival says of itself and of the event before it. It must
// be called after compare. It deletes the oldest entries when there are many.
func (o *order) remember(a arrival) {
	n := a.event.Number
	o.seen[n] = seenEvent{hash: a.event.Hash, streamSequence: a.streamSequence}
	if _, ok := o.seen[n-1]; !ok {
		o.seen[n-1] = seenEvent{hash: a.event.PreviousHash}
	}
	if len(o.seen) < 3*maxSeen {
		return
	}
	for number := range o.seen {
		if number+maxSeen < o.stored.Number && number != n && number+1 != n {
			delete(o.seen, number)
		}
	}
}

// advance stores the Bookmark of an event that was handled. If the event after it
// waits in early, it removes and returns that one.
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

// missing returns a Gap if the events between the stored one and the early ones
// cannot arrive any more. Delivered is the stream sequence up to which the consumer
// has sent messages, and unacknowledged is how many of these are not acknowledged.
// If all of them are kept here, none is left that could fill the gap.
func (o *order) missing(delivered uint64, unacknowledged int) error {
	var first uint64
	waiting := 0
	for number, a := range o.early {
		if a.streamSequence > delivered {
			continue // it arrived after the broker had answered
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
