package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// observations returns the resources of a report's Bundle of Observations.
func observations(t testing.TB, r fhir.Report) []json.RawMessage {
	t.Helper()
	data, err := r.EncodeObservations()
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		t.Fatal(err)
	}
	var resources []json.RawMessage
	for _, e := range bundle.Entry {
		resources = append(resources, e.Resource)
	}
	return resources
}

func TestObservationsFillTheLesionsTheyWereMadeFrom(t *testing.T) {
	want := fullReport().Assessment
	got := withLesionIDsOnly(fullReport()).Assessment
	for _, resource := range observations(t, fullReport()) {
		o, err := fhir.ParseObservation(resource)
		if err != nil {
			t.Fatal(err)
		}
		if o.Study != want.Study || o.Subject != want.Subject {
			t.Errorf("study %q, subject %q", o.Study, o.Subject)
		}
		if filled, err := o.Fill(&got); !filled || err != nil {
			t.Errorf("%s: %t, %v", o.Identifier, filled, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnObservationFillsOnlyItsOwnLesion(t *testing.T) {
	o, err := fhir.ParseObservation(observations(t, fullReport())[0])
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(a *events.Assessment)
		code   events.Code
	}{
		"of another case":               {func(a *events.Assessment) { a.Case.ID = 7 }, ""},
		"of another assessment":         {func(a *events.Assessment) { a.ID = "A" }, ""},
		"that the report does not have": {func(a *events.Assessment) { a.Lesions = a.Lesions[1:] }, ""},
		"of another study":              {func(a *events.Assessment) { a.Study = "other" }, events.Invalid},
		"of another subject":            {func(a *events.Assessment) { a.Subject = "other" }, events.Invalid},
	} {
		t.Run(what, func(t *testing.T) {
			a := fullReport().Assessment
			c.change(&a)
			before := a.Lesions[0]
			filled, err := o.Fill(&a)
			if filled || events.CodeOf(err) != c.code || !cmp.Equal(before, a.Lesions[0]) {
				t.Errorf("%t, %v", filled, err)
			}
		})
	}
}

func TestMalformedObservationsAreRefusedWithThePathOfTheFault(t *testing.T) {
	var b bytes.Buffer
	if err := json.Compact(&b, observations(t, fullReport())[0]); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	if _, err := fhir.ParseObservation([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, old, with, field string }{
		{"another resource", `"Observation"`, `"DiagnosticReport"`, "resourceType"},
		{"an unknown state", `"Present"`, `"Gone"`, "extension[4].valueString"},
		{"an unknown category", `"Target"`, `"target"`, "extension[3].valueString"},
		{"a series number that is text", `"valueInteger":2`, `"valueString":"2"`, "extension[5].valueString"},
		{"a series number with a fraction", `"valueInteger":2`, `"valueInteger":2.5`, "extension[5].valueInteger"},
		{"a negative instance number", `"valueInteger":0`, `"valueInteger":-1`, "extension[7].valueInteger"},
		{"no study", `#IDB.Protocol`, `#IDB.Protokoll`, "extension"},
		{"the report's spelling of the sponsor", `#SponsorID`, `#SponsorId`, "extension[1].url"},
		{"a label twice", `#Modality`, `#Label`, "extension[9].url"},
		{"another unit", `"unit":"mm"`, `"unit":"cm"`, "valueQuantity.unit"},
		{"no unit", `,"unit":"mm"`, ``, "valueQuantity.unit"},
		{"a value that is text", `"value":1E2`, `"value":"100"`, "valueQuantity.value"},
		{"a value out of range", `"value":1E2`, `"value":1E99`, "valueQuantity.value"},
		{"another code of the unit", `"unit":"mm"`, `"unit":"mm","code":"cm"`, "valueQuantity.code"},
		{"a comparator", `"unit":"mm"`, `"unit":"mm","comparator":"<"`, "valueQuantity.comparator"},
		{"a preliminary one", `"final"`, `"preliminary"`, "status"},
		{"another category of observation", `"imaging"`, `"laboratory"`, "category[0].coding[0].code"},
		{"an id of its own", `"id":"2147483647-A-7.1-T01"`, `"id":"x"`, "id"},
		{"no date", `2006-10-13T09:31:24.5+02:00`, `yesterday`, "effectiveDateTime"},
		{"an unknown member", `"status"`, `"note":[],"status"`, "note"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := fhir.ParseObservation([]byte(edit(t, good, c.old, c.with)))
			if e := (*events.Error)(nil); !errors.As(err, &e) || e.Code != events.Invalid || e.Field != c.field {
				t.Errorf("%v, want it at %q", err, c.field)
			}
		})
	}
}

func TestTheUnitMayBeCodedInUCUM(t *testing.T) {
	good := string(observations(t, fullReport())[0])
	o, err := fhir.ParseObservation([]byte(edit(t, good, `"unit":"mm"`, `"unit":"mm","system":"http://unitsofmeasure.org","code":"mm"`)))
	if err != nil || o.Lesion.Value != "1E2" || o.Lesion.Unit != "mm" {
		t.Errorf("%+v, %v", o.Lesion, err)
	}
}
