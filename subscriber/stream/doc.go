// Package stream reads the stream of sign-off events in order, for the
// publisher's own read models. Partners use package subscriber instead.
//
// The stream sequence is the number of a message in the stream. The chain head of a
// study is its last event, to which the next one must refer.
//
// A Reader passes every event of the stream to a Handler, in stream order, in
// batches of what is available. A Handler that stores its Position together with
// what it makes of a batch gets each event exactly once. An event is passed on
// only if its stream sequence is the next one, its hash matches its content, and
// its number and previous hash continue the chain of its study.
//
// When the stream is not the one that was read before, or an event does not
// follow, Run returns an error that names the difference. No event is skipped. While the
// broker is unreachable, Run waits.
//
// A Reader gets messages by stream sequence, many at a time, and begins each request with
// the message that it has read last. So the broker stores nothing about it, and each
// answer shows that it continues the same stream. A message that the stream republishes on
// a live subject is applied without a request, with the same checks, if it is the next one
// and the one before it was the last that was read. Otherwise the Reader requests messages
// at once. It does so each second in any case.
//
// Nobody but the server may publish to live subjects. An event that somebody else published
// there, and that continues its study, would be applied.
//
// A Reader stores nothing itself: position and chain heads belong to the Handler.
package stream
