// Package subscriber reads the log of sign-off events in order and proves, for
// each event handed over, that none before it is missing, repeated or altered.
//
// What it guarantees: a Handler gets every event of the stream once per stored
// position, in stream order, in batches of what is available. An event is
// handed over only if its stream sequence is the next one, its hash matches
// its content, and its number and previous hash continue its study's chain.
// When the stream is not the one that was read before, or an event does not
// follow, Run ends with an error that says so; nothing is skipped. While the
// broker is away, Run waits.
//
// It keeps nothing itself: position and chains are the Handler's, which stores
// them together with what it makes of the events.
package subscriber
