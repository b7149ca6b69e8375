package fhir

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
)

// document is the state of reading that DiagnosticReport and Observation share.
type document struct {
	reader
	kind       string // resourceType
	system     string // of the identifier
	category   concept
	found      [][]byte // names of the elements that were read
	extensions extensions
	id         string
	identifier string
	status     string
	subject    string
	effective  string
}

// read reads a resource and requires the elements that both kinds have. It calls
// other for each element that they do not share; other must read the value or refuse
// it.
func (d *document) read(data []byte, other func(name []byte) error) error {
	d.found = make([][]byte, 0, 16)
	err := strictjson.Read(data, func(r *strictjson.Reader) error {
		d.reader = reader{r}
		return d.object(func(name []byte) error {
			d.found = append(d.found, name)
			return d.element(name, other)
		})
	})
	if err != nil {
		return err
	}
	return d.require("resourceType", "extension", "identifier", "status", "category", "subject", "effectiveDateTime")
}

// element reads one element, or calls other if the two kinds do not share it.
func (d *document) element(name []byte, other func(name []byte) error) error {
	switch string(name) {
	case "resourceType":
		return d.constant(d.kind)
	case "id":
		return d.text(&d.id)
	case "extension":
		return d.extensions.read(d.reader)
	case "identifier":
		return d.only(d.readIdentifier)
	case "status":
		return d.text(&d.status)
	case "category":
		return d.only(d.readCategory)
	case "subject":
		return d.object(d.readSubject)
	case "effectiveDateTime":
		return d.text(&d.effective)
	default:
		return other(name)
	}
}

// require returns an error if the resource lacks one of the elements.
func (d *document) require(names ...string) error {
	for _, name := range names {
		if !slices.ContainsFunc(d.found, func(n []byte) bool { return string(n) == name }) {
			return events.Fieldf(name, "is missing")
		}
	}
	return nil
}

// unsupported returns the error for an element that is not read.
func unsupported() error { return events.Errorf(events.Invalid, "unsupported element; remove it") }

// readIdentifier reads the identifier, whose system must be d.system.
func (d *document) readIdentifier() error {
	err := d.object(func(name []byte) error {
		switch string(name) {
		case "system":
			return d.constant(d.system)
		case "value":
			return d.text(&d.identifier)
		default:
			return unsupported()
		}
	})
	if err == nil && d.identifier == "" {
		err = events.Fieldf("value", "is missing")
	}
	return err
}

// readSubject reads a member of the subject, which may only have a reference.
func (d *document) readSubject(name []byte) error {
	if string(name) != "reference" {
		return unsupported()
	}
	reference, err := d.Text()
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

// subjectOf returns the id in a reference to a subject, such as Patient/A%2F1. The id
// is percent-encoded, but a character that should be encoded and is not is accepted.
func subjectOf(reference string) (id string, ok bool) {
	id, ok = strings.CutPrefix(reference, subjectPrefix)
	if !ok {
		return "", false
	}
	id, err := url.PathUnescape(id)
	return id, err == nil
}

// readCategory reads the category, which must have the constants of d.category.
func (d *document) readCategory() error {
	return d.object(func(name []byte) error {
		switch string(name) {
		case "coding":
			return d.only(func() error { return d.object(d.readCoding) })
		case "text":
			return d.constant(d.category.text)
		default:
			return unsupported()
		}
	})
}

func (d *document) readCoding(name []byte) error {
	switch string(name) {
	case "system":
		return d.constant(d.category.system)
	case "code":
		return d.constant(d.category.code)
	case "display":
		return d.constant(d.category.display)
	default:
		return unsupported()
	}
}

// paths are the paths in FHIR JSON of the fields of an assessment or a lesion
// that are not in an extension.
var paths = map[string]string{
	"id":           "identifier[0].value",
	"lesion.id":    "identifier[0].value",
	"lesion.value": "valueQuantity.value",
	"lesion.unit":  "valueQuantity.unit",
	"subject":      "subject.reference",
	"effective":    "effectiveDateTime",
	"lesions":      "result",
}

// locate replaces the Field of an events.Error, which names a field of the assessment
// or lesion, by the FHIR path from which that field was read. It changes and returns
// err.
func (d *document) locate(err error) error {
	var e *events.Error
	if !errors.As(err, &e) {
		return err
	}
	if i := d.extensions.index(e.Field); i >= 0 {
		e.Field = d.extensions.path(i)
	} else if path, ok := paths[e.Field]; ok {
		e.Field = path
	} else if rest, ok := strings.CutPrefix(e.Field, "lesions["); ok {
		index, _, _ := strings.Cut(rest, "]")
		e.Field = "result[" + index + "].display"
	}
	return err
}
