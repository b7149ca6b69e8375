package fhir

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxExtensions is more than any resource of ours has.
const maxExtensions = 32

// extension is one element of an extension array as it stands in JSON.
type extension struct {
	name  string // what follows the root in the url
	kind  string // the key of the value: valueString …
	text  string // the string, or the number as written
	field string // the field of the assessment it was taken for; empty: not yet
}

// extensions takes an extension array apart by name. It keeps the first error,
// so that what a resource holds can be read from the calls that take it.
type extensions struct {
	list []extension
	err  error
}

// read reads the array. Names are checked when they are taken, and by rest.
func (x *extensions) read(c *cursor) error {
	x.list = make([]extension, 0, 18)
	return c.array(func(i int) error {
		if i == maxExtensions {
			return events.Errorf(events.Invalid, "is one extension too many")
		}
		e, err := readExtension(c)
		x.list = append(x.list, e)
		return err
	})
}

func readExtension(c *cursor) (extension, error) {
	var e extension
	err := c.object(func(key []byte) error {
		switch k := string(key); {
		case k == "url":
			return e.readURL(c)
		case !strings.HasPrefix(k, "value"):
			return notTaken()
		case e.kind != "":
			return events.Errorf(events.Invalid, "is a second value; an extension has one")
		default:
			e.kind = k
			return e.readValue(c)
		}
	})
	if err == nil && (e.name == "" || e.kind == "") {
		err = events.Errorf(events.Invalid, "needs a url and a value")
	}
	return e, err
}

func (e *extension) readURL(c *cursor) error {
	url, err := c.text()
	if err != nil {
		return err
	}
	name, ok := strings.CutPrefix(url, root)
	if !ok || name == "" {
		return events.Errorf(events.Invalid, "%.100q does not start with %s", url, root)
	}
	e.name = name
	return nil
}

func (e *extension) readValue(c *cursor) (err error) {
	switch e.kind {
	case valueString, valueDateTime:
		e.text, err = c.text()
	case valueInteger, valueDecimal:
		e.text, err = c.number()
	default:
		err = events.Errorf(events.Invalid, "is a type of value that no extension here has")
	}
	if err == nil && e.text == "" {
		err = events.Errorf(events.Invalid, "is empty; leave it out")
	}
	return err
}

// take finds the next extension of the name that was not taken before and
// marks it as the field's. The result is nil where there is none, or its value
// is of another kind, which is an error.
func (x *extensions) take(field, name, kind string) *extension {
	for i := range x.list {
		e := &x.list[i]
		if e.name != name || e.field != "" {
			continue
		}
		e.field = field
		if e.kind != kind {
			x.fail(events.Fieldf(x.path(i), "must be a %s in %s", kind, name))
			return nil
		}
		return e
	}
	return nil
}

// optional gives the text of an extension, empty where it is missing.
func (x *extensions) optional(field, name, kind string) string {
	if e := x.take(field, name, kind); e != nil {
		return e.text
	}
	return ""
}

// required is like optional, but what is missing is an error.
func (x *extensions) required(field, name, kind string) string {
	text := x.optional(field, name, kind)
	if text == "" {
		x.fail(events.Fieldf("extension", "lacks %s%s, the %s", root, name, field))
	}
	return text
}

func (x *extensions) text(field, name string) string { return x.required(field, name, valueString) }

func (x *extensions) integer(field, name string) int32 {
	x.required(field, name, valueInteger)
	if n := x.lastInteger(field); n != nil {
		return *n
	}
	return 0
}

func (x *extensions) optionalInteger(field, name string) *int32 {
	x.optional(field, name, valueInteger)
	return x.lastInteger(field)
}

// lastInteger gives the value taken for the field.
func (x *extensions) lastInteger(field string) *int32 {
	i := x.index(field)
	if i < 0 || x.list[i].kind != valueInteger {
		return nil
	}
	n, err := parseInteger(x.list[i].text)
	if err != nil {
		x.fail(within(x.path(i), err))
		return nil
	}
	return &n
}

// rest refuses what was not taken: an unknown extension, or one too many.
func (x *extensions) rest() {
	for i, e := range x.list {
		if e.field == "" {
			x.fail(events.Fieldf("extension["+strconv.Itoa(i)+"].url", "%.100q is unknown here, or there too often", root+e.name))
		}
	}
}

// index gives the place of the extension that was taken for the field, or -1.
func (x *extensions) index(field string) int {
	for i, e := range x.list {
		if e.field == field {
			return i
		}
	}
	return -1
}

// path is the FHIR path of the value of an extension.
func (x *extensions) path(i int) string {
	return fmt.Sprintf("extension[%d].%s", i, x.list[i].kind)
}

func (x *extensions) fail(err error) {
	if x.err == nil {
		x.err = err
	}
}

func notTaken() error {
	return events.Errorf(events.Invalid, "is not taken here, and dropping it would change what is signed; leave it out")
}
