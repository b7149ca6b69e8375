package subscriber

import (
	"github.com/seed-e88a4ece/signoff/events"
)

// arrival is an event as a consumer delivers it. A durable consumer delivers
// again what is not acknowledged in time, and so not always in order.
type arrival struct {
	event    events.Event
	sequence uint64 // in the stream
	pending  uint64
	message  acknowledger

	deliveries uint64 // of this event by the consumer, so far
}

// acknowledger is what a message can be told.
type acknowledger interface {
	Ack() error // it was handled
	Nak() error // deliver it again
}

func (a arrival) bookmark() Bookmark {
	return Bookmark{Number: a.event.Number, Hash: a.event.Hash, StreamSequence: a.sequence}
}

// verdict is what to do with an arrival.
type verdict int

const (
	wait  verdict = iota // it is kept until those before it have come
	next                 // it directly follows what is held
	again                // it is held already, and is the same
)

// order puts the events of one study in order. Deliveries may be repeated and
// may come in any order; the log may not.
type order struct {
	study string   // token
	start Bookmark // what was held at first
	held  Bookmark
	known map[uint64]trace   // by number, around held
	ahead map[uint64]arrival // by number, beyond a hole

	confirmed bool               // the log was seen to hold the event of held
	repeats   map[uint64]arrival // by place in the stream: not acknowledged before that
	length    uint64             // so many events the log has at least, as those of repeats say
	limit     uint64             // so many events can be kept as repeats
}

// trace is what is known of an event: its hash from itself or from the one
// after it, and its place in the stream, 0 as long as it has not been seen.
type trace struct {
	hash     string
	sequence uint64
}

// remembered is how far back from what is held events are known by their hash.
const remembered = 4096

func newOrder(study string, held Bookmark) *order {
	o := &order{
		study: study, start: held, held: held,
		known: make(map[uint64]trace), ahead: make(map[uint64]arrival), repeats: make(map[uint64]arrival),
	}
	o.known[0] = trace{hash: events.NoHash}
	if held.Number > 0 {
		o.known[held.Number] = trace{hash: held.Hash, sequence: held.StreamSequence}
	}
	return o
}

// take judges an arrival. What is to wait it keeps; settled returns what waits no
// more. An error's code is Gap, Repeat, Reorder, Altered or Invalid, as
// events.Link.Follow has it.
func (o *order) take(a arrival) (verdict, error) {
	e := a.event
	if e.Study != o.study {
		return 0, events.Errorf(events.Invalid, "an event of %s arrived among those of %s", e.Study, o.study)
	}
	if err := e.Verify(); err != nil {
		return 0, err
	}
	if err := o.agree(a); err != nil {
		return 0, err
	}
	o.remember(a)
	switch {
	case e.Number <= o.held.Number:
		return o.repeat(a), nil
	case e.Number == o.held.Number+1:
		o.confirmed = true // agree has compared its previous hash with that of held
		return next, nil
	default:
		o.ahead[e.Number] = a
		return wait, nil
	}
}

// agree compares an arrival with all that is known.
func (o *order) agree(a arrival) error {
	e, n := a.event, a.event.Number
	if k, ok := o.known[n]; ok {
		if k.hash != e.Hash {
			return o.contradict(events.Altered, n, k.hash, "on the log event %d has hash %s", n, e.Hash)
		}
		if k.sequence != 0 && k.sequence != a.sequence {
			code := events.Repeat
			if n < o.held.Number {
				code = events.Reorder
			}
			return o.contradict(code, n, e.Hash, "it is in the stream twice, as message %d and %d", k.sequence, a.sequence)
		}
	}
	if k, ok := o.known[n-1]; ok && k.hash != e.PreviousHash {
		return o.contradict(events.Altered, n-1, k.hash, "on the log the previous hash of event %d is %s", n, e.PreviousHash)
	}
	for _, b := range []Bookmark{o.start, o.held} {
		if err := o.inOrder(a, b.Number, b.StreamSequence); err != nil {
			return err
		}
	}
	for _, b := range o.ahead {
		if err := o.inOrder(a, b.event.Number, b.sequence); err != nil {
			return err
		}
	}
	return nil
}

// inOrder reports numbers that do not rise with the place in the stream. That
// is no matter of delivery: the log itself is not in order.
func (o *order) inOrder(a arrival, number, sequence uint64) error {
	n := a.event.Number
	if sequence == 0 || n == number || (n < number) == (a.sequence < sequence) {
		return nil
	}
	return o.contradict(events.Reorder, number, o.known[number].hash,
		"as message %d, and on the log event %d with hash %s is message %d: it is out of order, or another log than before",
		sequence, n, a.event.Hash, a.sequence)
}

func (o *order) remember(a arrival) {
	n := a.event.Number
	o.known[n] = trace{hash: a.event.Hash, sequence: a.sequence}
	if _, ok := o.known[n-1]; !ok {
		o.known[n-1] = trace{hash: a.event.PreviousHash}
	}
	if len(o.known) < 3*remembered {
		return
	}
	for number := range o.known {
		if number+remembered < o.held.Number && number != n && number+1 != n {
			delete(o.known, number)
		}
	}
}

// advance takes note that an event was handled, and returns the one that follows
// if it is here.
func (o *order) advance(to Bookmark) (arrival, bool) {
	o.held = to
	a, ok := o.ahead[to.Number+1]
	delete(o.ahead, to.Number+1)
	return a, ok
}

// kept returns how many messages wait here, unacknowledged.
func (o *order) kept() int { return len(o.ahead) + len(o.repeats) }

// waits reports whether the message of the stream waits here.
func (o *order) waits(sequence uint64) bool {
	if _, ok := o.repeats[sequence]; ok {
		return true
	}
	for _, a := range o.ahead {
		if a.sequence == sequence {
			return true
		}
	}
	return false
}

// unhandled returns what waits.
func (o *order) unhandled() []acknowledger {
	var all []acknowledger
	for _, a := range o.ahead {
		all = append(all, a.message)
	}
	for _, a := range o.repeats {
		all = append(all, a.message)
	}
	return all
}

// missing reports a Gap if the events between what is held and what waits
// cannot come any more. The consumer has given out everything up to message
// delivered, and of that so many are not acknowledged: if those are the ones
// that wait here, nothing is left that could fill the hole.
func (o *order) missing(delivered uint64, unacknowledged int) error {
	var first uint64
	mine := 0
	for number, a := range o.ahead {
		if a.sequence > delivered {
			continue
		}
		if mine++; first == 0 || number < first {
			first = number
		}
	}
	if mine == 0 || mine+len(o.repeats) < unacknowledged {
		return nil
	}
	return events.Errorf(events.Gap,
		"study %s: events %d to %d are missing before %d, and the consumer has nothing that could fill the gap",
		o.study, o.held.Number+1, first-1, first)
}
