package events

import (
	"math"
	"strconv"
)

// RefillKey is the key in the stream's metadata under which the publisher says
// to which sequence the stream is being filled again from the outbox. It is
// there from the request that creates the stream, or from before a lost end is
// published again, until all is there. Whoever has no outbox cannot know
// otherwise that what such a stream holds is the beginning of something longer.
const RefillKey = "refill-to"

// StreamEnd returns the sequence at which a stream with this metadata ends, or
// will end once it is filled again: what ends before is only its beginning.
// Last is the last sequence it holds. A mark that cannot be read has no end.
func StreamEnd(metadata map[string]string, last uint64) uint64 {
	mark, marked := metadata[RefillKey]
	if !marked {
		return last
	}
	to, err := strconv.ParseUint(mark, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return max(last, to)
}
