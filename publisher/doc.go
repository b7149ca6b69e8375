// Package publisher owns the stream and is the only writer of it: it moves
// events from an outbox to NATS JetStream.
//
// An event of the outbox is recorded once the outbox has stored its stream sequence;
// until then it is pending. A relay publishes and records pending events. A study is
// parked when the broker refuses its next event for its size: its events wait until
// the study is released. A stream that lost recorded events is filled again (refilled)
// from the outbox. While that lasts a mark in its metadata tells readers that it is
// not complete.
//
// The package guarantees that every event is stored exactly once, in the order in
// which the outbox committed it, at the stream sequence that the outbox records. It
// never writes after a message that is not in the outbox. A refilled stream has the
// same events at the same sequences. During an outage it tries again without end.
//
// It does not make events, does not read them and decides nothing about
// who may read them. See DESIGN.md for what happens when something fails.
package publisher
