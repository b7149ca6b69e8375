package api

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// view is the part of each resource that was asked for. The zero view is the
// whole resource, byte for byte.
type view struct {
	partial bool
	keep    []string // elements in addition to the mandatory ones; nil: all
}

// mandatoryElements are in every view.
var mandatoryElements = []string{"resourceType", "id", "meta", "status", "code"}

// reportSummary are the elements of reports that FHIR marks as summary.
var reportSummary = []string{"identifier", "category", "subject", "effectiveDateTime", "issued", "resultsInterpreter"}

// reportElements are all elements of a DiagnosticReport, as _elements names them.
var reportElements = []string{
	"id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension", "identifier", "basedOn",
	"status", "category", "code", "subject", "encounter", "effective", "issued", "performer", "resultsInterpreter", "specimen",
	"result", "imagingStudy", "media", "conclusion", "conclusionCode", "presentedForm",
}

// subsettedTag marks a resource that is not whole.
const subsettedTag = `{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}`

// parseElements reads a value of _elements, and adds its elements to the view. A choice
// of types, such as effective[x], may be named with or without its type.
func (s *search) parseElements(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimPrefix(name, s.kind.name+".")
		switch name {
		case "effective[x]", "effectiveDateTime":
			name = "effective"
		case "value[x]", "valueQuantity":
			name = "value"
		}
		if !slices.Contains(s.kind.elements, name) {
			return events.Errorf(events.Invalid, "%q is not an element of %s, such as identifier or subject", shorten(name), s.kind.name)
		}
		switch name {
		case "effective":
			name = "effectiveDateTime"
		case "value":
			name = "valueQuantity"
		}
		s.view.keep = append(s.view.keep, name)
	}
	s.view.partial = true
	return nil
}

// parseSummary reads a value of _summary in a search.
func (s *search) parseSummary(value string) error {
	if value == "count" {
		s.totalOnly = true
		return nil
	}
	return s.parseViewOfOne(value)
}

// parseViewOfOne reads a value of _summary that is permitted in a read too. The value
// data leaves out nothing, because reports have no text element, but the resources are
// marked as subsetted.
func (s *search) parseViewOfOne(value string) error {
	switch {
	case value == "false":
		return nil
	case s.view.partial:
		return events.Errorf(events.Invalid, "cannot be combined with _elements; use one of them")
	case value == "true":
		s.view = view{partial: true, keep: s.kind.summary}
	case value == "text":
		s.view = view{partial: true, keep: []string{"text"}}
	case value == "data":
		s.view = view{partial: true}
	default:
		return events.Errorf(events.Invalid, "%q is not one of true, text, data, count, false; count is for searches only", shorten(value))
	}
	return nil
}

// keeps reports whether an element is in the view.
func (v view) keeps(element string) bool {
	return v.keep == nil || slices.Contains(v.keep, element) || slices.Contains(mandatoryElements, element)
}

// of returns the view of a resource. The elements in it keep their order and
// their bytes, except that a partial view has a tag in meta.
func (v view) of(resource []byte) ([]byte, error) {
	if !v.partial {
		return resource, nil
	}
	d := json.NewDecoder(bytes.NewReader(resource))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if element, _ := name.(string); v.keeps(element) {
			out = appendMember(out, element, value)
		}
	}
	return append(out, '}'), nil
}

// appendMember appends an element to a JSON object that is being written. It adds the
// tag of a subsetted resource to meta.
func appendMember(out []byte, element string, value []byte) []byte {
	if len(out) > 1 {
		out = append(out, ',')
	}
	out = append(append(append(out, '"'), element...), `":`...)
	if element != "meta" {
		return append(out, value...)
	}
	// The meta of a report has versionId and lastUpdated and never a tag.
	out = append(out, bytes.TrimSuffix(value, []byte("}"))...)
	return append(out, `,"tag":[`+subsettedTag+`]}`...)
}
