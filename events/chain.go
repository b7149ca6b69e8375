package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// NoHash is the previous hash of a study's first event.
const NoHash = "0000000000000000000000000000000000000000000000000000000000000000"

// ChainHead is the end of what is held of a study's chain: the number and the hash
// of its last event. The zero ChainHead holds nothing yet.
type ChainHead struct {
	Number uint64
	Hash   string
}

// Seal numbers the event as the one after the link and computes its hash.
// All other attributes must be set.
func (e *Event) Seal(previous ChainHead) {
	e.Number = previous.Number + 1
	e.PreviousHash = previous.hash()
	e.Hash = e.Digest()
}

// ChainHead is the end of the chain after the event.
func (e Event) ChainHead() ChainHead { return ChainHead{Number: e.Number, Hash: e.Hash} }

// Digest computes the hash that the event must carry: lower-case hex SHA-256
// of the line "signoff-event/1" and a line name=value for each covered
// attribute, in a fixed order, values as in the headers, last the hex SHA-256
// of the body.
func (e Event) Digest() string {
	body := sha256.Sum256(e.Data)
	var b strings.Builder
	b.Grow(1024)
	b.WriteString("signoff-event/1\n")
	for _, a := range []struct{ name, value string }{
		{"id", e.ID},
		{"source", e.Source},
		{"type", e.Type},
		{"subject", e.Subject},
		{"time", FormatTime(e.Time)},
		{"datacontenttype", e.DataContentType},
		{"study", e.Study},
		{"sequence", FormatNumber(e.Number)},
		{"partitionkey", e.PartitionKey},
		{"previoushash", e.PreviousHash},
		{"datadigest", hex.EncodeToString(body[:])},
	} {
		b.WriteString(a.name)
		b.WriteByte('=')
		b.WriteString(a.value)
		b.WriteByte('\n')
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// Verify reports an Altered Error unless the event's hash matches its content.
func (e Event) Verify() error {
	if e.Digest() != e.Hash {
		return Errorf(Altered, "event %d of %s does not match its hash", e.Number, e.Study)
	}
	return nil
}

// Follow checks that the event matches its own hash and directly follows the
// link, and returns the link after it. Otherwise the error's code is Gap,
// Repeat, Reorder or Altered, and the link is unchanged.
func (l ChainHead) Follow(e Event) (ChainHead, error) {
	if err := e.Verify(); err != nil {
		return l, err
	}
	switch {
	case e.Number == l.Number+1 && e.PreviousHash == l.hash():
		return e.ChainHead(), nil
	case e.Number == l.Number+1:
		return l, Errorf(Altered, "event %d of %s does not continue the hash of event %d", e.Number, e.Study, l.Number)
	case e.Number > l.Number:
		return l, Errorf(Gap, "study %s: event %d came after %d; those between are missing", e.Study, e.Number, l.Number)
	case e.Number < l.Number:
		return l, Errorf(Reorder, "study %s: event %d came after %d", e.Study, e.Number, l.Number)
	case e.Hash == l.Hash:
		return l, Errorf(Repeat, "study %s: event %d came again", e.Study, e.Number)
	default:
		return l, Errorf(Altered, "study %s: another event %d", e.Study, e.Number)
	}
}

func (l ChainHead) hash() string {
	if l.Number == 0 {
		return NoHash
	}
	return l.Hash
}

// FormatNumber writes a number as the CloudEvents sequence extension wants
// it: 20 digits, so that the order of texts is the order of numbers.
func FormatNumber(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	return "00000000000000000000"[len(digits):] + digits
}

// ParseNumber reads exactly what FormatSequence writes.
func ParseNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || FormatNumber(n) != text {
		return 0, Errorf(Invalid, "must be 20 digits")
	}
	return n, nil
}
