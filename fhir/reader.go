package fhir

import (
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// reader reads the kinds of value that FHIR resources share. It refuses empty objects,
// arrays and strings, which FHIR does not allow.
type reader struct{ *strictjson.Reader }

// object reads an object that is not empty.
func (r reader) object(member func(name []byte) error) error {
	n, err := r.Object(member)
	if err == nil && n == 0 {
		err = events.Errorf(events.Invalid, "is an empty object")
	}
	return err
}

// array reads an array that is not empty.
func (r reader) array(element func(i int) error) error {
	n, err := r.Array(element)
	if err == nil && n == 0 {
		err = events.Errorf(events.Invalid, "is an empty array")
	}
	return err
}

// only reads an array of exactly one element.
func (r reader) only(element func() error) error {
	return r.array(func(i int) error {
		if i > 0 {
			return events.Errorf(events.Invalid, "is one element too many; the array must have one")
		}
		return element()
	})
}

// text reads a string that is not empty into target.
func (r reader) text(target *string) error {
	text, err := r.Text()
	if err == nil && text == "" {
		err = events.Errorf(events.Invalid, "is empty; leave it out")
	}
	*target = text
	return err
}

// constant reads a string that must be want.
func (r reader) constant(want string) error {
	text, err := r.Bytes()
	if err == nil && string(text) != want {
		err = events.Errorf(events.Invalid, "%.100q must be %q", text, want)
	}
	return err
}

// version reads the number of an event, which FHIR carries as a string.
func (r reader) version(target *uint64) error {
	text, err := r.Text()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || text[0] == '0' || text[0] == '+' {
		return events.Errorf(events.Invalid, "must be a whole number from 1 on")
	}
	*target = n
	return nil
}
