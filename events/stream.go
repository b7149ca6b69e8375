package events

import (
	"math"
	"strconv"
	"time"
)

// Name and subjects of the stream. The publisher publishes to IngestPrefix +
// subject. A subject transform of the stream stores the event as subject, and the
// stream republishes there what it has stored. If the publisher published to
// subject itself, core subscribers would get messages of batches that are never
// committed.
const (
	Stream         = "SIGNOFF"
	SubjectPrefix  = "crit."
	IngestPrefix   = "in."
	PartnerPrefix  = "crit.v1."
	partnerAccess  = "crit.partner."        // followed by the partner's id and .access
	AccessSubject  = "crit.internal.access" // granted to nobody
	IngestWildcard = IngestPrefix + SubjectPrefix + ">"
	StoredWildcard = SubjectPrefix + ">"
)

// StudySubjects returns the wildcard of the subjects of a clinical study.
func StudySubjects(key string) string { return PartnerPrefix + key + ".>" }

// PartnerAccessSubject returns the subject of the events of a PartnerStudy.
func PartnerAccessSubject(id string) string { return partnerAccess + id + ".access" }

// NATSSubject returns the subject under which the event is stored. It depends on
// study and type alone, and not on whether the kind is known, because a publisher
// may have to find events on the stream that a newer one stored. It has no
// assessment id in it, because the server keeps each distinct subject in memory.
// For an event whose type or study is not valid it returns AccessSubject, which no partner
// may read.
func (e Event) NATSSubject() string {
	kind, ok := kindOf(e.Type)
	if !ok || kind.in(e.Study) != nil {
		return AccessSubject
	}
	if partner, ok := PartnerOf(e.Study); ok {
		return PartnerAccessSubject(partner)
	}
	if kind.internal() {
		return AccessSubject
	}
	return PartnerPrefix + e.Study + "." + kind.subjectTail()
}

// Entry is an event with its places in the outbox and in the stream.
type Entry struct {
	Row            int64  // 1, 2, 3 … in the order of commits
	StreamSequence uint64 // 0 until the broker has acknowledged the event
	Event          Event
}

// Receipt is what the broker has delivered to a partner's durable consumer, and what the
// partner has acknowledged. Its numbers are stream sequences, as in the broker's answer.
type Receipt struct {
	Partner      string    // the partner's id
	Study        string    // study key; PartnerStudy(Partner) for the consumer of announcements
	Delivered    uint64    // the last one delivered, whether acknowledged or not; 0 for none
	Acknowledged uint64    // all of the study up to this one are acknowledged; 0 for none
	At           time.Time // when the broker was asked, UTC
}

// RefillKey is a key in the metadata of a stream that lost events and that the publisher
// is filling again from the outbox. Its value is the stream sequence of the last event that
// the stream will have then. The publisher sets it in the request that creates the stream,
// or before it publishes a lost end again, and removes it when all events are there. A
// reader without an outbox cannot find out otherwise that the stream is incomplete.
const RefillKey = "refill-to"

// StreamEnd returns the stream sequence at which a stream with this metadata ends,
// or will end once it is filled again. Last is the last stream sequence that it has now.
// If the value of RefillKey is not a number, StreamEnd returns the largest possible
// sequence, so that the stream is never taken for complete.
func StreamEnd(metadata map[string]string, last uint64) uint64 {
	target, refilling := metadata[RefillKey]
	if !refilling {
		return last
	}
	to, err := strconv.ParseUint(target, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return max(last, to)
}
