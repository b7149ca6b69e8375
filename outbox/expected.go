package outbox

import (
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// Expected is the version of an assessment that a sign-off means.
type Expected struct {
	Version events.Version

	// Registration, if not 0, is Waiting's: content that was registered later
	// under the same version is not meant either.
	Registration int64
}

func (e Expected) is(version events.Version, row int64) bool {
	return e.Version == version && (e.Registration == 0 || e.Registration == row)
}

// signsWaiting decides whether a sign-off means the candidate's waiting
// version, or the one signed last. It refuses one that means neither.
func (s SignOff) signsWaiting(c *candidate) (bool, error) {
	e, told := s.Expected[c.id]
	switch {
	case !told:
		return c.waiting != 0, nil
	case c.signed != 0 && e.is(c.signedVersion, c.signed):
		return false, nil
	case c.waiting != 0 && e.is(c.waitingVersion, c.waiting):
		return true, nil
	case c.waiting != 0 && e.Version == c.waitingVersion:
		return false, events.Errorf(events.Conflict,
			"%s of assessment %s was registered again, with other content, since it was looked at; look again", e.Version, c.id)
	default:
		return false, events.Errorf(events.Conflict, "%s of assessment %s does not wait: %s, and %s",
			e.Version, c.id, c.whatWaits(), c.whatWasSigned())
	}
}

func (c *candidate) whatWaits() string {
	if c.waiting == 0 {
		return "nothing does"
	}
	return fmt.Sprintf("%s does", c.waitingVersion)
}

func (c *candidate) whatWasSigned() string {
	if c.signed == 0 {
		return "nothing was signed"
	}
	return fmt.Sprintf("%s was signed by %s at %s", c.signedVersion, c.signature.User, events.FormatTime(c.signature.Time))
}

// checkExpected wants each expected version to be of an assessment to be signed.
func (s SignOff) checkExpected() error {
	if len(s.Expected) == 0 {
		return nil
	}
	named := make(map[string]bool, len(s.IDs))
	for _, id := range s.IDs {
		named[id] = true
	}
	for id, e := range s.Expected {
		if !named[id] {
			return events.Fieldf("expected", "a version of assessment %q is expected, which is not among those to be signed", id)
		}
		if e.Version.CaseRevision < 1 || e.Version.Revision < 1 {
			return events.Fieldf("expected", "the version expected of assessment %s has a revision below 1", id)
		}
	}
	return nil
}
