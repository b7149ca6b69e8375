package fhir

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
)

// maxExtensions is more than any resource of this program has.
const maxExtensions = 32

// extension is one element of an extension array.
type extension struct {
	name    []byte // what follows the root in the url
	kind    string // name of the value: valueString …
	text    string // the string, or the decimal as it is written
	integer int32
	field   string // of the assessment or lesion for which take returned it; empty until then
}

// extensions holds the extensions of a resource. They are read first and looked up by
// name afterwards, because a source may send them in any order. A lookup that fails
// sets err, unless it is set; end returns it.
type extensions struct {
	list []extension
	err  error
}

// read reads the array of extensions.
func (x *extensions) read(r reader) error {
	x.list = make([]extension, 0, 18)
	return r.array(func(i int) error {
		if i == maxExtensions {
			return events.Errorf(events.Invalid, "is one extension too many; the array may have %d", maxExtensions)
		}
		var e extension
		err := e.read(r)
		x.list = append(x.list, e)
		return err
	})
}

// read reads one extension, which must have a url and one value.
func (e *extension) read(r reader) error {
	err := r.object(func(name []byte) error {
		switch {
		case string(name) == "url":
			return e.readURL(r)
		case !bytes.HasPrefix(name, []byte("value")):
			return unsupported()
		case e.kind != "":
			return events.Errorf(events.Invalid, "is a second value; an extension has one")
		default:
			return e.readValue(r, string(name))
		}
	})
	if err == nil && (e.name == nil || e.kind == "") {
		err = events.Errorf(events.Invalid, "needs a url and a value")
	}
	return err
}

// readURL reads the url, which must be the root and a name.
func (e *extension) readURL(r reader) error {
	url, err := r.Bytes()
	if err != nil {
		return err
	}
	name, ok := bytes.CutPrefix(url, []byte(root))
	if !ok || len(name) == 0 {
		return events.Errorf(events.Invalid, "%.100q does not start with %s", url, root)
	}
	e.name = name
	return nil
}

// readValue reads the value, whose member has the name kind.
func (e *extension) readValue(r reader, kind string) (err error) {
	switch kind {
	case valueString:
		e.kind = valueString
		return r.text(&e.text)
	case valueDateTime:
		e.kind = valueDateTime
		return r.text(&e.text)
	case valueInteger:
		e.kind = valueInteger
		e.integer, err = r.Integer()
		return err
	case valueDecimal:
		e.kind = valueDecimal
		e.text, err = r.Number()
		return err
	default:
		return events.Errorf(events.Invalid, "unsupported type of value; use %s, %s, %s or %s", valueString, valueInteger, valueDecimal, valueDateTime)
	}
}

// take returns the first extension of the name that has not been taken, and sets its
// field. It returns nil if there is none. If the value is of another kind than kind,
// it returns nil and sets the error.
func (x *extensions) take(field, name, kind string) *extension {
	for i := range x.list {
		e := &x.list[i]
		if string(e.name) != name || e.field != "" {
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

// required is like take but never returns nil. If the extension is missing, it sets
// the error and returns an empty one.
func (x *extensions) required(field, name, kind string) *extension {
	if e := x.take(field, name, kind); e != nil {
		return e
	}
	x.fail(events.Fieldf("extension", "lacks %s%s, the %s", root, name, field))
	return &extension{}
}

// text returns the string of an extension that must be there.
func (x *extensions) text(field, name string) string {
	return x.required(field, name, valueString).text
}

// integer returns the number of an extension that must be there.
func (x *extensions) integer(field, name string) int32 {
	return x.required(field, name, valueInteger).integer
}

// optional returns the text of an extension, or "" if it is missing.
func (x *extensions) optional(field, name, kind string) string {
	if e := x.take(field, name, kind); e != nil {
		return e.text
	}
	return ""
}

// optionalInteger returns the number of an extension, or nil if it is missing.
func (x *extensions) optionalInteger(field, name string) *int32 {
	if e := x.take(field, name, valueInteger); e != nil {
		return &e.integer
	}
	return nil
}

// end is called after all lookups. It returns the first error of them, or an error
// about an extension that no lookup has taken, or nil.
func (x *extensions) end() error {
	for i, e := range x.list {
		if e.field == "" {
			x.fail(events.Fieldf("extension["+strconv.Itoa(i)+"].url", "%.100q is unknown, or there too often; remove it", root+string(e.name)))
		}
	}
	return x.err
}

// index returns the index of the extension that was taken for the field, or -1.
func (x *extensions) index(field string) int {
	for i, e := range x.list {
		if e.field == field {
			return i
		}
	}
	return -1
}

// path returns the FHIR path of the value of an extension.
func (x *extensions) path(i int) string {
	return fmt.Sprintf("extension[%d].%s", i, x.list[i].kind)
}

// fail sets the error, unless there is one.
func (x *extensions) fail(err error) {
	if x.err == nil {
		x.err = err
	}
}
