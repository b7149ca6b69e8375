package fhir

import (
	"net/url"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// document is what a report and an Observation have in common when they are
// read.
type document struct {
	*cursor
	kind       string // resourceType
	system     string // of the identifier
	category   concept
	found      map[string]bool // members that were there
	extensions extensions
	id         string
	identifier string
	status     string
	subject    string
	effective  string
}

// read reads a resource. Members that the two kinds do not share are
// left to other, which must read the value or refuse it.
func (d *document) read(other func(key string) error) error {
	d.found = make(map[string]bool, 16)
	if err := d.object(func(key []byte) error {
		name := string(key)
		d.found[name] = true
		return d.member(name, other)
	}); err != nil {
		return err
	}
	if err := d.end(); err != nil {
		return err
	}
	return d.complete("resourceType", "extension", "identifier", "status", "category", "subject", "effectiveDateTime")
}

func (d *document) member(name string, other func(key string) error) error {
	switch name {
	case "resourceType":
		return d.constant(d.kind)
	case "id":
		return d.into(&d.id)
	case "extension":
		return d.extensions.read(d.cursor)
	case "identifier":
		return d.only(d.readIdentifier)
	case "status":
		return d.into(&d.status)
	case "category":
		return d.only(d.readCategory)
	case "subject":
		return d.object(d.readSubject)
	case "effectiveDateTime":
		return d.into(&d.effective)
	default:
		return other(name)
	}
}

// complete refuses a resource that lacks one of the members.
func (d *document) complete(members ...string) error {
	for _, name := range members {
		if !d.found[name] {
			return events.Fieldf(name, "is missing")
		}
	}
	return nil
}

// into reads a string that must not be empty.
func (c *cursor) into(target *string) error {
	text, err := c.text()
	if err == nil && text == "" {
		err = events.Errorf(events.Invalid, "is empty")
	}
	*target = text
	return err
}

// constant reads a string that can only be want.
func (c *cursor) constant(want string) error {
	text, err := c.text()
	if err == nil && text != want {
		err = events.Errorf(events.Invalid, "%.100q must be %q", text, want)
	}
	return err
}

func (d *document) readIdentifier() error {
	err := d.object(func(key []byte) error {
		switch string(key) {
		case "system":
			return d.constant(d.system)
		case "value":
			return d.into(&d.identifier)
		default:
			return notTaken()
		}
	})
	if err == nil && d.identifier == "" {
		err = events.Fieldf("value", "is missing")
	}
	return err
}

func (d *document) readSubject(key []byte) error {
	if string(key) != "reference" {
		return notTaken()
	}
	reference, err := d.text()
	if err != nil {
		return err
	}
	subject, ok := subjectOf(reference)
	if !ok || subject == "" {
		return events.Errorf(events.Invalid, "%.100q must be %s and the subject's id, percent-encoded", reference, subjectPrefix)
	}
	d.subject = subject
	return nil
}

// subjectOf gives the id in a reference to a subject, in which it is
// percent-encoded. A character that should be, but is not, stands for itself.
func subjectOf(reference string) (id string, ok bool) {
	id, ok = strings.CutPrefix(reference, subjectPrefix)
	if !ok {
		return "", false
	}
	id, err := url.PathUnescape(id)
	return id, err == nil
}

// readCategory reads a concept that can only be the document's.
func (d *document) readCategory() error {
	return d.object(func(key []byte) error {
		switch string(key) {
		case "coding":
			return d.only(func() error { return d.object(d.readCoding) })
		case "text":
			return d.constant(d.category.text)
		default:
			return notTaken()
		}
	})
}

func (d *document) readCoding(key []byte) error {
	switch string(key) {
	case "system":
		return d.constant(d.category.system)
	case "code":
		return d.constant(d.category.code)
	case "display":
		return d.constant(d.category.display)
	default:
		return notTaken()
	}
}
