// Package publisher owns the stream and is the only writer of it: it moves
// events from an outbox to NATS JetStream.
//
// It guarantees that every event is stored exactly once, in the order in which
// the outbox committed it, at the stream sequence that the outbox records;
// that it never writes behind a message it cannot account for;
// and that a stream that lost its end, or everything, is filled again with
// identical sequence numbers. During an outage it tries again without end.
//
// It does not make events, does not read them and decides nothing about
// who may read them. See DESIGN.md for what happens when something fails.
package publisher
