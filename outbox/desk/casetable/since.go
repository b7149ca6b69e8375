package casetable

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Since is what happened to a case since a PI saw it.
type Since struct {
	Changed bool                         // the rest has a meaning
	Texts   map[string]string            // what happened, by assessment id; none for those as before
	Shown   map[string]events.Assessment // what was shown, by assessment id
	Gone    []string                     // ids of assessments of which the case has nothing left
}

// Seen returns a text that identifies what a page shows of the case. A form sends it back,
// so that a page can mark what changed meanwhile.
func Seen(c review.Case) string {
	var b strings.Builder
	for _, v := range c.Visits {
		s := seenOf(v)
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s:%d:%d:%t", v.ID, s.waiting, s.signed, s.withdrawn)
	}
	return b.String()
}

// seen is what Seen has of a visit: the registrations of its versions, 0 for none.
type seen struct {
	waiting, signed int64
	withdrawn       bool
}

func seenOf(v review.Visit) (s seen) {
	if v.Waiting != nil {
		s.waiting = v.Waiting.Registration
	}
	if v.Signed != nil {
		s.signed, s.withdrawn = v.Signed.Registration, v.Signed.Withdrawal != nil
	}
	return s
}

// parseSeen returns what Seen has of each visit. What is malformed is left out: the text
// comes from a form, and only decides what is marked.
func parseSeen(text string) map[string]seen {
	all := map[string]seen{}
	for _, field := range strings.Fields(text) {
		parts := strings.Split(field, ":")
		if len(parts) != 4 {
			continue
		}
		waiting, err1 := strconv.ParseInt(parts[1], 10, 64)
		signed, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err1 == nil && err2 == nil {
			all[parts[0]] = seen{waiting, signed, parts[3] == "true"}
		}
	}
	return all
}

// NewSince returns what happened to the case since Seen returned the text. Versions returns
// the versions of an assessment; it is called for those that have another version now.
func NewSince(c review.Case, text string, versions func(id string) ([]review.Version, error)) (Since, error) {
	since := Since{Changed: true, Texts: map[string]string{}, Shown: map[string]events.Assessment{}}
	before := parseSeen(text)
	if len(before) == 0 {
		return since, nil
	}
	for _, v := range c.Visits {
		was, known := before[v.ID]
		delete(before, v.ID)
		now := seenOf(v)
		if known && was == now {
			continue
		}
		since.Texts[v.ID] = happened(was, now, known)
		if !known {
			continue
		}
		all, err := versions(v.ID)
		if err != nil {
			return since, err
		}
		for _, version := range all {
			// The text is from outside, and the assessment may have been of another study once.
			if version.Registration == cmp.Or(was.waiting, was.signed) && version.Assessment.Study == c.Study {
				since.Shown[v.ID] = version.Assessment
			}
		}
	}
	since.Gone = slices.Sorted(maps.Keys(before))
	return since, nil
}

// happened returns what happened to a visit that was shown, unless it is new.
func happened(was, now seen, known bool) string {
	switch {
	case !known:
		return "new here"
	case now.withdrawn && !was.withdrawn:
		return "withdrawn meanwhile"
	case now.waiting != was.waiting && now.waiting != 0:
		return "registered again meanwhile"
	case now.signed != was.signed:
		return "signed meanwhile"
	default:
		return "no longer waits"
	}
}
