package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// NoHash is the PreviousHash of a study's first event.
const NoHash = "0000000000000000000000000000000000000000000000000000000000000000"

// ChainHead identifies the last event of a study that a writer or a reader has.
// The next event must have the next number and, as its PreviousHash, the hash of the
// chain head. The zero ChainHead stands before a study's first event.
type ChainHead struct {
	Number uint64 // of the event; 0 before the first
	Hash   string // of the event; empty before the first
}

// Seal makes e the event after the chain head: it sets Number, PreviousHash and
// Hash. All other fields must be set before, because the hash covers them.
func (e *Event) Seal(previous ChainHead) {
	e.Number = previous.Number + 1
	e.PreviousHash = previous.hash()
	e.Hash = e.Digest()
}

// ChainHead returns the chain head of the event's study once the event is applied.
func (e Event) ChainHead() ChainHead { return ChainHead{Number: e.Number, Hash: e.Hash} }

// Digest returns the hash that the event must carry. It is the SHA-256, in
// lower-case hex, of the line "signoff-event/1" and one line name=value for each
// covered attribute, in a fixed order. Values are written as in the headers. The
// last line has the SHA-256 of the body.
func (e Event) Digest() string {
	var b strings.Builder
	b.Grow(1024)
	b.WriteString("signoff-event/1\n")
	for _, a := range e.Covered(e.DataDigest()) {
		b.WriteString(a.Name)
		b.WriteByte('=')
		b.WriteString(a.Value)
		b.WriteByte('\n')
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// DataDigest returns the SHA-256 of the event's body, in lower-case hex.
func (e Event) DataDigest() string {
	body := sha256.Sum256(e.Data)
	return hex.EncodeToString(body[:])
}

// Attribute is a name and a value that the hash of an event covers.
type Attribute struct{ Name, Value string }

// Covered returns what the event's hash covers, in order. The caller passes the digest of
// the body (see DataDigest) and need not have the body itself.
func (e Event) Covered(dataDigest string) [11]Attribute {
	return [...]Attribute{
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
		{"datadigest", dataDigest},
	}
}

// Verify returns an Altered Error unless the event's hash matches its content.
func (e Event) Verify() error {
	if e.Digest() != e.Hash {
		return Errorf(Altered, "event %d of %s does not match its hash", e.Number, e.Study)
	}
	return nil
}

// Follow returns the new chain head of a study whose chain head is h, once e is applied.
// If e does not match its own hash or is not the event directly after h, it returns h and
// an error with the code Gap, Repeat, Reorder or Altered.
func (h ChainHead) Follow(e Event) (ChainHead, error) {
	if err := e.Verify(); err != nil {
		return h, err
	}
	switch {
	case e.Number == h.Number+1 && e.PreviousHash == h.hash():
		return e.ChainHead(), nil
	case e.Number == h.Number+1:
		return h, Errorf(Altered, "event %d of %s does not continue the hash of event %d", e.Number, e.Study, h.Number)
	case e.Number > h.Number:
		return h, Errorf(Gap, "study %s: event %d came after %d; those between are missing", e.Study, e.Number, h.Number)
	case e.Number < h.Number:
		return h, Errorf(Reorder, "study %s: event %d came after %d", e.Study, e.Number, h.Number)
	case e.Hash == h.Hash:
		return h, Errorf(Repeat, "study %s: event %d came again", e.Study, e.Number)
	default:
		return h, Errorf(Altered, "study %s: event %d is not the one that came before with this number", e.Study, e.Number)
	}
}

// hash returns the PreviousHash of the event after the chain head.
func (h ChainHead) hash() string {
	if h.Number == 0 {
		return NoHash
	}
	return h.Hash
}

// FormatNumber returns a study number as the CloudEvents attribute sequence has
// it: 20 digits, so that texts sort as the numbers do.
func FormatNumber(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	return "00000000000000000000"[len(digits):] + digits
}

// ParseNumber returns the study number of a text that FormatNumber returned. Any
// other text is an Invalid Error.
func ParseNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || FormatNumber(n) != text {
		return 0, Errorf(Invalid, "must be 20 digits")
	}
	return n, nil
}
