package stored

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/seed-e88a4ece/signoff/events"
)

// Bounds of what Contents remembers. Longer contents are decoded each time, so that
// the memory stays small whatever sources register.
const (
	maxRemembered = 2048
	maxContent    = 16 << 10 // bytes
)

// Contents decodes contents of versions and remembers the latest ones by their digests. A
// PI reads a case before signing it, and signs its visits one after the other. What has the
// same digest has the same content, so nothing that is remembered can be wrong.
//
// Its methods may be called concurrently. Nobody may change an assessment that they
// return, because others have it too.
type Contents struct {
	decoded *lru.Cache[string, events.Assessment]
}

// NewContents returns Contents that remember nothing yet.
func NewContents() *Contents {
	decoded, err := lru.New[string, events.Assessment](maxRemembered)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &Contents{decoded}
}

// DecodeWithDigest is Decode and returns the digest of the content too. It remembers
// nothing, for who reads more than is remembered and would displace the rest.
func DecodeWithDigest(content []byte) (a events.Assessment, digest string, err error) {
	a, err = Decode(content)
	return a, Digest(content), err
}

// Decode is DecodeWithDigest and remembers the assessment.
func (c *Contents) Decode(content []byte) (a events.Assessment, digest string, err error) {
	digest = Digest(content)
	a, ok := c.Remembered(digest)
	if ok {
		return a, digest, nil
	}
	if a, err = Decode(content); err == nil && len(content) <= maxContent {
		c.decoded.Add(digest, a)
	}
	return a, digest, err
}

// Remembered returns the assessment with this digest, and whether it is remembered.
func (c *Contents) Remembered(digest string) (a events.Assessment, ok bool) {
	return c.decoded.Get(digest)
}
