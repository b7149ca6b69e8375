package fhir

import (
	"errors"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// within puts a step of the path before the field of a refusal.
func within(step string, err error) error {
	var e *events.Error
	if !errors.As(err, &e) {
		return err
	}
	refusal := *e
	switch {
	case e.Field == "":
		refusal.Field = step
	case e.Field[0] == '[':
		refusal.Field = step + e.Field
	default:
		refusal.Field = step + "." + e.Field
	}
	return &refusal
}

// keyStep is the step of an object's key, which may be anything a stranger
// wrote: a short one of letters as it is, others quoted and cut.
func keyStep(key []byte) string {
	const longest = 40
	plain := len(key) > 0 && len(key) <= longest
	for _, b := range key {
		plain = plain && (b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_')
	}
	if plain {
		return string(key)
	}
	return strconv.Quote(string(key[:min(len(key), longest)]))
}

// places says where a field of an assessment or a lesion stands in FHIR JSON,
// for those that are not in an extension.
var places = map[string]string{
	"id":           "identifier[0].value",
	"lesion.id":    "identifier[0].value",
	"lesion.value": "valueQuantity.value",
	"lesion.unit":  "valueQuantity.unit",
	"subject":      "subject.reference",
	"effective":    "effectiveDateTime",
	"lesions":      "result",
}

// locate translates the field of a refusal into the path where it was read.
func (d *document) locate(err error) error {
	var e *events.Error
	if !errors.As(err, &e) {
		return err
	}
	located := *e
	if i := d.extensions.index(e.Field); i >= 0 {
		located.Field = d.extensions.path(i)
	} else if place, ok := places[e.Field]; ok {
		located.Field = place
	} else if rest, ok := strings.CutPrefix(e.Field, "lesions["); ok {
		index, _, _ := strings.Cut(rest, "]")
		located.Field = "result[" + index + "].display"
	}
	return &located
}
