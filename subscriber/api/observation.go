package api

import (
	"net/http"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// reportKind returns the kind of reports. Base is the absolute URL of the API.
func reportKind(base string) kind {
	return kind{
		name: "DiagnosticReport", resource: readmodel.Reports, table: searchParameters(base), sorts: sortColumns,
		elements: reportElements, summary: reportSummary, url: base + "/DiagnosticReport", id: "&_Id=",
	}
}

// observationKind returns the kind of Observations, of which there is one for each
// lesion. The fullUrl of an Observation is the base and the reference with which
// a report names it.
func observationKind(base string) kind {
	return kind{
		name: "Observation", resource: readmodel.Observations, table: observationParameters(base),
		sorts: map[string]readmodel.Column{
			"_id": readmodel.ColumnID, "date": readmodel.ColumnDate, "subject": readmodel.ColumnSubject,
			"_lastupdated": readmodel.ColumnLastUpdated, "caseid": readmodel.ColumnCase,
		},
		elements: []string{
			"id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension", "identifier", "basedOn", "partOf",
			"status", "category", "code", "subject", "focus", "encounter", "effective", "issued", "performer", "value", "dataAbsentReason",
			"interpretation", "note", "bodySite", "method", "specimen", "device", "referenceRange", "hasMember", "derivedFrom", "component",
		},
		summary: []string{"identifier", "subject", "effectiveDateTime", "valueQuantity"},
		url:     base + "/Observation", id: "&category=imaging&id=",
	}
}

const observationSortText = "_id, date, subject, _lastUpdated, caseid, separated by commas; with - before it for descending"

// observationParameters returns the parameters of a search for Observations in the
// order of links. Base is the absolute URL of the API.
func observationParameters(base string) []parameter {
	return withKeys([]parameter{
		filter("_id", kindToken, readmodel.ColumnID, idValue, "id of the Observation"),
		{name: "id", kind: kindToken, text: "identifier of the lesion as in the references of a report, or id of the Observation", parse: (*search).parseLesion},
		tokenFilter("identifier", fhir.SystemLesion, readmodel.ColumnIdentifier, identifierMatch, "identifier of the lesion: value, system|value or system|"),
		tokenFilter("category", fhir.SystemCategory, readmodel.ColumnID, only("imaging"), "imaging; there are no Observations of another category"),
		tokenFilter("status", "http://hl7.org/fhir/observation-status", readmodel.ColumnID, only("final"), "final; Observations with another status are not available"),
		dateFilter("date", readmodel.ColumnDate, dateValue, "effectiveDateTime, as in a search for reports"),
		dateFilter("_lastUpdated", readmodel.ColumnLastUpdated, dateValue, "meta.lastUpdated, which increases with each event of the study"),
		dateFilter("_since", readmodel.ColumnLastUpdated, sinceValue, "the same as _lastUpdated=ge"),
		filter("subject", kindReference, readmodel.ColumnSubject, subjectValue(base), "subject, as Patient/10081007 or 10081007"),
		filter("patient", kindReference, readmodel.ColumnSubject, subjectValue(base), "another name of subject"),
		filter("caseid", kindToken, readmodel.ColumnCase, caseValue, "case number"),
		{name: "_sort", kind: kindSpecial, text: observationSortText, single: true, parse: (*search).parseSort},
		{name: "_elements", kind: kindSpecial, text: "elements of the Observations, separated by commas", parse: (*search).parseElements},
		{name: "_summary", kind: kindSpecial, text: "true, text, data, count or false", single: true, parse: (*search).parseSummary},
		{name: "_total", kind: kindSpecial, text: "none, estimate or accurate; the total is always exact", single: true, parse: (*search).parseTotal},
		{name: paramFormat, single: true, normalize: rest.FormatValue, parse: parsedBefore},
		{name: paramCount, kind: kindSpecial, text: "Observations on a page; 0 for the total only", single: true, parse: (*search).parseCount},
		minNumberParameter(),
		{name: paramPartner, single: true, parse: parsedBefore},
		asOfParameter(),
		{name: paramPage, kind: kindSpecial, text: "number of the page, from 1", single: true, parse: (*search).parsePage},
		{name: paramStudy, kind: kindToken, text: "id of the study, exact match; required", parse: parsedBefore},
	})
}

// parseLesion reads the parameter id. References of reports write an identifier as
// it is, also one with a comma, so the value is first taken literally; only if the
// study has no such Observation is it read as a list.
func (s *search) parseLesion(value string) error {
	condition := readmodel.Condition{Column: readmodel.ColumnID, Any: []readmodel.Comparison{{Op: readmodel.Eq, Text: value}}}
	if texts, err := splitValue(value); err == nil && (len(texts) > 1 || texts[0] != value) {
		for _, text := range texts {
			condition.Any = append(condition.Any, readmodel.Comparison{Op: readmodel.Eq, Text: text, Unless: value})
		}
	}
	s.values += len(condition.Any)
	s.query.Where = append(s.query.Where, condition)
	return nil
}

// readObservation answers {base}/Observation/{id}. An Observation that is not of a
// granted study is answered like an unknown one.
func (a *API) readObservation(w http.ResponseWriter, r *request, id string) error {
	s := search{kind: &a.observations}
	if err := s.parseAll(readParameters(), r.pairs, r.strict); err != nil {
		return err
	}
	notFound := events.Errorf(events.NotFound, "There is no such Observation.")
	if !events.ValidFHIRID(id) {
		return notFound
	}
	versions, err := a.reader.Observations(r.Context(), id)
	if err != nil {
		return err
	}
	for _, o := range versions { // the available ones first
		switch {
		case grantedStudy(r.partner, o.Study) == "":
			continue
		case o.Version == 0: // its study is outdated
			return a.absent(r, notFound)
		}
		if err := a.cfg.Signed(r.Context(), o.Study, o.StudyHead); err != nil {
			return err
		}
		if !o.Available {
			return events.Errorf(events.Gone, "The Observation is no longer available: its report was superseded or withdrawn.")
		}
		return writeOne(w, r, s.view, one{o.Version, o.LastUpdated, o.StudyHead.Number, o.Body})
	}
	return a.absent(r, notFound)
}
