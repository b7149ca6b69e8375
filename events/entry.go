package events

// Entry is an event as the outbox holds it.
type Entry struct {
	Row            int64  // place in commit order
	StreamSequence uint64 // stream sequence; 0 until the broker acknowledged it
	Event          Event
}
