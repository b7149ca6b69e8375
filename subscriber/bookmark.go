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

// validate checks the form of a stored Bookmark. A StreamSequence of 0 is valid.
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
//   - Otherwise the bookmark is neither confirmed nor contradicted. That is the usual
//     start: all was acknowledged and nothing is outstanding. The next event decides,
//     by its previous hash.
//
// A partner cannot know two things. The first is whether the log contains the
// bookmark's event, while nothing is delivered: not if the consumer does not start
// at the first event and events of other studies are behind the bookmark's
// StreamSequence. The second is whether events behind the bookmark were
// acknowledged. The next event shows it, because it then arrives with a gap.
//
// The broker stops delivering when MaxAckPending events are not acknowledged. So an
// event that is so many before the bookmark, or more, cannot be kept until the
// bookmark's event arrives. It is acknowledged if the log is known to have as many
// events as the bookmark's number. The partner has not seen it only in one case: an
// older log was restored that lacked more than MaxAckPending events of the study,
// and it has got as many since.

// beginSession forgets what the last session has found out about the log, because
// this one may read another log: the bookmark has to be confirmed again. It also
// forgets the repeats, which the broker delivers again. The consumer's MaxAckPending
// bounds how many can be kept; if it is 0, only maxSeen does.
func (o *order) beginSession(maxAckPending int) {
	clear(o.repeats)
	o.confirmed, o.minEvents = o.stored.Number == 0, 0 // the zero bookmark needs no event
	o.maxRepeats = maxSeen
	if maxAckPending > 0 {
		o.maxRepeats = min(uint64(maxAckPending), maxSeen)
	}
}

// judgeRepeat decides what to do with a repeat, which is an event up to the
// bookmark's number. It is kept until the bookmark is confirmed, which means that
// the log was seen to contain the bookmark's event.
func (o *order) judgeRepeat(a arrival) verdict {
	n := a.event.Number
	o.minEvents = max(o.minEvents, n+a.pending)
	o.confirmed = o.confirmed || n == o.stored.Number // compare has compared the hashes
	// The broker stops delivering if this one is kept until the bookmark's event arrives.
	tooFarBefore := n+o.maxRepeats <= o.stored.Number
	if o.confirmed || tooFarBefore && o.minEvents >= o.stored.Number {
		return skip
	}
	o.repeats[a.streamSequence] = a
	return keep
}

// takeConfirmedRepeats removes and returns the repeats that were kept until the
// bookmark was confirmed. It returns none before that. The caller acknowledges them.
func (o *order) takeConfirmedRepeats() []acknowledger {
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
//     events together are fewer than N. Repeated deliveries only increase that sum.
//   - Nothing is undelivered, and nothing at or behind the bookmark's
//     StreamSequence was delivered or acknowledged.
//
// The same is true for a short time of a replica that is behind and of a stream that
// is being filled again. So the caller waits for aheadFor before it returns the error.
func (o *order) beyondEnd(info *jetstream.ConsumerInfo) error {
	if o.confirmed || len(o.early) > 0 {
		return nil // an early event is behind the bookmark, and so is the end
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
