package fhir

import (
	"bytes"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Index is what a report can be found by.
type Index struct {
	ID          string
	Status      string // final or entered-in-error
	Study       string // study number
	Subject     string // without Patient/
	Effective   string // FHIR dateTime as the source wrote it
	Issued      time.Time
	LastUpdated time.Time
	Name        string
	Conclusion  string
	Case        int32
	Version     uint64 // number of the event that carries the bytes
}

// ParseIndex reads the index from a report's bytes in one pass that looks at
// nothing else. It is for bytes that Encode wrote and a hash vouches for: what
// it does not need it does not check. An Invalid Error says what is missing.
func ParseIndex(data []byte) (Index, error) {
	var x Index
	c, err := newCursor(data)
	if err != nil {
		return Index{}, err
	}
	if err := c.object(func(key []byte) error { return x.member(c, key) }); err != nil {
		return Index{}, err
	}
	for _, m := range []struct {
		name  string
		there bool
	}{
		{"id", x.ID != ""}, {"meta", x.Version > 0 && !x.LastUpdated.IsZero()}, {"status", x.Status != ""},
		{"subject", x.Subject != ""}, {"effectiveDateTime", x.Effective != ""}, {"issued", !x.Issued.IsZero()},
		{"conclusion", x.Conclusion != ""}, {"extension", x.Study != "" && x.Name != "" && x.Case > 0},
	} {
		if !m.there {
			return Index{}, events.Fieldf(m.name, "is missing or incomplete")
		}
	}
	return x, c.end()
}

func (x *Index) member(c *cursor, key []byte) error {
	switch string(key) {
	case "resourceType":
		return c.constant(typeReport)
	case "id":
		return c.into(&x.ID)
	case "meta":
		return c.object(func(key []byte) error { return x.meta(c, key) })
	case "extension":
		return c.array(func(int) error { return x.extension(c) })
	case "status":
		return c.into(&x.Status)
	case "subject":
		return c.object(func([]byte) error { return x.subject(c) })
	case "effectiveDateTime":
		return c.into(&x.Effective)
	case "issued":
		return c.instant(&x.Issued)
	case "conclusion":
		return c.into(&x.Conclusion)
	default:
		return c.skip()
	}
}

func (x *Index) meta(c *cursor, key []byte) error {
	switch string(key) {
	case "versionId":
		return c.version(&x.Version)
	case "lastUpdated":
		return c.instant(&x.LastUpdated)
	default:
		return c.skip()
	}
}

// extension reads an extension whose url, as Encode has it, comes first.
func (x *Index) extension(c *cursor) error {
	var url []byte
	return c.object(func(key []byte) (err error) {
		switch {
		case string(key) == "url":
			url, err = c.bytes()
			return err
		case bytes.HasPrefix(url, []byte(root)):
			return x.value(c, url[len(root):])
		default:
			return c.skip()
		}
	})
}

func (x *Index) value(c *cursor, name []byte) error {
	switch string(name) {
	case extProtocol:
		return c.into(&x.Study)
	case extName:
		return c.into(&x.Name)
	case extCaseID:
		digits, err := c.number()
		if err != nil {
			return err
		}
		x.Case, err = parseInteger(digits)
		return err
	default:
		return c.skip()
	}
}

func (x *Index) subject(c *cursor) error {
	reference, err := c.text()
	x.Subject, _ = subjectOf(reference)
	return err
}

// instant reads a moment in the one form in which this program writes it.
func (c *cursor) instant(target *time.Time) error {
	text, err := c.text()
	if err != nil {
		return err
	}
	*target, err = events.ParseTime(text)
	return err
}

// version reads the number of an event, which FHIR carries as a string.
func (c *cursor) version(target *uint64) error {
	text, err := c.bytes()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || n == 0 || text[0] == '0' || text[0] == '+' {
		return events.Errorf(events.Invalid, "must be a whole number from 1 on")
	}
	*target = n
	return nil
}
