// Package stored reads what is stored of assessments: the content of a version, its
// digest, and the order of ids. It remembers the contents that were read last.
package stored

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// Digest returns what a signature covers: the lower-case hex SHA-256 of a version's
// content as it is stored.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Decode reads the assessment from the content of a version.
func Decode(content []byte) (a events.Assessment, err error) {
	if err := json.Unmarshal(content, &a); err != nil {
		return a, fmt.Errorf("read stored assessment: %w", err)
	}
	return a, nil
}

// Unknown returns the error for the id of an assessment that is not stored: Invalid if
// it is malformed, or else NotFound.
func Unknown(id string) error {
	if !events.ValidFHIRID(id) {
		return events.Fieldf("id", "%q is not an assessment id: 1 to 64 of A-Z, a-z, 0-9, - and .", id)
	}
	return events.Errorf(events.NotFound, "no assessment %s is registered", id)
}

// CompareIDs orders assessment ids. Ids of digits only come first, by value. All
// other ids follow, by their bytes.
func CompareIDs(a, b string) int {
	digitsA, digitsB := onlyDigits(a), onlyDigits(b)
	switch {
	case digitsA && digitsB:
		// Without leading zeros, the longer number is the greater one.
		x, y := strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(a, b))
	case digitsA:
		return -1
	case digitsB:
		return 1
	default:
		return cmp.Compare(a, b)
	}
}

func onlyDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
