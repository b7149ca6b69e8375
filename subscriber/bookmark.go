package subscriber

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// Bookmark is a place in a study's events. The zero Bookmark is before the
// first one.
type Bookmark struct {
	Number         uint64 // of the event: 1, 2, 3 … within the study, without gaps
	Hash           string // of the event: 64 hexadecimal digits
	StreamSequence uint64 // of the event in the publisher's stream; 0 if unknown
}

func (b Bookmark) validate() error {
	hash, err := hex.DecodeString(b.Hash)
	valid := err == nil && len(hash) == 32 && b.Hash == strings.ToLower(b.Hash)
	if b != (Bookmark{}) && (b.Number == 0 || !valid) {
		return events.Fieldf("bookmark", "must be the Bookmark of an event that was delivered, or the zero Bookmark")
	}
	return nil
}

// A stored Bookmark may be of another log than the one that the broker has now:
// the publisher has restored an older one, or the caller has mixed up studies.
// Then the events up to the bookmark's number are no repeats, and a client that
// acknowledges them as such never sees them. A partner cannot read a message of
// the stream by its sequence, nor the end of the stream. It can ask for
// CONSUMER.INFO, and it sees what is delivered. From that follows:
//
//   - The log contains the bookmark's event if that event is delivered with the
//     bookmark's hash, or the event after it with that hash as its previous one.
//     Then the bookmark is confirmed. Until then no event up to the bookmark's
//     number is acknowledged: they are kept, and acknowledged together.
//   - The log contains another event there if either is delivered with another hash.
//   - The log ends before the bookmark in the cases that beyondEnd detects.
//   - Else nothing contradicts. That is the usual start: all was acknowledged and
//     nothing is outstanding. The next event decides, by its previous hash.
//
// What a partner cannot know: whether the log contains the bookmark's event while
// nothing is delivered, if the stream has grown beyond the bookmark's
// StreamSequence by events of other studies and the consumer does not start at the
// first event; and whether events behind the bookmark were acknowledged, before the
// next event arrives with a gap.
//
// The broker stops to deliver when MaxAckPending events are not acknowledged. So
// events that are that many before the bookmark, or more, cannot be kept until the
// bookmark's event arrives. They are acknowledged if the log is known to be long
// enough. They are unseen ones only if an older log was restored that lacked more
// than MaxAckPending events of the study, and it has grown by as many since.

// begin resets what was learnt about the log in the last session, because this one
// may read another log: the bookmark has to be confirmed again. The repeats that are
// kept until then are dropped; the broker delivers them again. The consumer's
// MaxAckPending bounds how many can be kept; 0 stands for no bound but maxTraces.
func (o *order) begin(maxAckPending int) {
	clear(o.repeats)
	o.confirmed, o.length = o.stored.Number == 0, 0
	o.limit = maxTraces
	if maxAckPending > 0 {
		o.limit = min(uint64(maxAckPending), maxTraces)
	}
}

// repeat decides what to do with an event up to the bookmark's number.
func (o *order) repeat(a arrival) verdict {
	n := a.event.Number
	o.length = max(o.length, n+a.pending)
	o.confirmed = o.confirmed || n == o.stored.Number // compare has compared the hashes
	if o.confirmed || n+o.limit <= o.stored.Number && o.length >= o.stored.Number {
		return skip
	}
	o.repeats[a.streamSequence] = a
	return keep
}

// settled returns the repeats that may be acknowledged because the bookmark was
// confirmed, each once.
func (o *order) settled() []acknowledger {
	if !o.confirmed {
		return nil
	}
	var all []acknowledger
	for _, a := range o.repeats {
		all = append(all, a.message)
	}
	clear(o.repeats)
	return all
}

// beyondEnd returns an error with the code Ahead if the log ends before the
// bookmark. Each of these proves it, where N is the bookmark's number:
//
//   - The last event that the consumer has delivered is a repeat n, and behind it
//     fewer than N-n events are undelivered. It is the last if it is the message
//     that the broker names, or if all deliveries above the acknowledgement floor
//     are those of the repeats: on a cluster the broker names the sequence up to
//     which it has searched, which may be behind the event.
//   - The consumer started at the first event, and deliveries and undelivered
//     events together are fewer than N: some may have been delivered repeatedly.
//   - Nothing is undelivered, and nothing at or behind the bookmark's
//     StreamSequence was delivered or acknowledged.
//
// A replica that is behind, or a stream that is being filled again, may seem the
// same. So it has to stand for some time.
func (o *order) beyondEnd(info *jetstream.ConsumerInfo) error {
	if o.confirmed || len(o.early) > 0 {
		return nil
	}
	last, deliveries := o.lastRepeat()
	n, undelivered := last.event.Number, info.NumPending
	isLast := last.streamSequence == info.Delivered.Stream || deliveries == info.Delivered.Consumer-info.AckFloor.Consumer
	switch {
	case n > 0 && isLast && n+undelivered < o.stored.Number:
		hash := ""
		if undelivered == 0 {
			hash = " with hash " + last.event.Hash
		}
		return o.ahead("ends with event %d%s", n+undelivered, hash)
	case info.Config.DeliverPolicy == jetstream.DeliverAllPolicy && info.Delivered.Consumer+undelivered < o.stored.Number:
		return o.ahead("has at most %d events", info.Delivered.Consumer+undelivered)
	case undelivered == 0 && info.Delivered.Stream < o.stored.StreamSequence:
		return o.ahead("has no event of the study behind message %d, and this one was message %d", info.Delivered.Stream, o.stored.StreamSequence)
	}
	return nil
}

// lastRepeat returns the repeat that stands last in the stream, and the number of
// deliveries of all repeats.
func (o *order) lastRepeat() (last arrival, deliveries uint64) {
	for _, a := range o.repeats {
		deliveries += a.deliveries
		if a.streamSequence > last.streamSequence {
			last = a
		}
	}
	return last, deliveries
}

// askPublisher is the advice when bookmark and log contradict each other.
const askPublisher = "ask the publisher whether an older log was restored; " +
	"if so, have the study granted again and read it from the first event"

// ahead returns an error with the code Ahead.
func (o *order) ahead(format string, args ...any) error {
	return o.contradiction(events.Ahead, o.stored.Number, o.stored.Hash, "the log "+format, args...)
}

// contradiction returns an error that names the event that was read, and what the
// log has instead.
func (o *order) contradiction(code events.Code, number uint64, hash, instead string, args ...any) error {
	return events.Errorf(code, "study %s: event %d with hash %s was read, but %s; %s",
		o.studyKey, number, hash, fmt.Sprintf(instead, args...), askPublisher)
}
