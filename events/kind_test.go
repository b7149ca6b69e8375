package events_test

import (
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
)

// kindFile is the form of kinds.json.
type kindFile struct {
	Description string        `json:"description"`
	Accepted    []kindVector  `json:"accepted"`
	Refused     []typeOfStudy `json:"refused"`
}

type typeOfStudy struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Study string `json:"study"`
}

type kindVector struct {
	typeOfStudy
	Kind      events.Kind `json:"kind"`
	Known     bool        `json:"known"`
	Optional  bool        `json:"optional"`
	Subject   string      `json:"subject"` // of NATS
	MediaType string      `json:"mediatype"`
}

const mskcc = "org.mskcc.crit."

func acceptedKinds() []kindVector {
	const report, access, partner = "FHIR-T", events.AccessStudy, "_partner/acme"
	long := strings.Repeat("a", 64)
	var all []kindVector
	for _, k := range kinds {
		study := studyOf(k, report)
		e := sampleEvent(events.DefaultNamespace, k, study, events.ChainHead{}, "{}")
		all = append(all, kindVector{typeOfStudy{"a known kind", mskcc + string(k), study}, k, true, k.Optional(), e.NATSSubject(), k.MediaType()})
	}
	v1, internal, told := "crit.v1.FHIR-T.", "crit.internal.access", "crit.partner.acme.access"
	for _, v := range []struct {
		name, prefix string
		kind         events.Kind
		study        string
		optional     bool
		subject      string
	}{
		{"a report's kind that is not known", mskcc, unknownReport, report, false, v1 + "DiagnosticReport.retracted"},
		{"a later version of a known kind", mskcc, "diagnosticreport.signed.v2", report, false, v1 + "DiagnosticReport.signed"},
		{"a kind of observations", mskcc, "observations.corrected.v10", report, false, v1 + "Observation.corrected"},
		{"a noun that is not known, other prefix", "x-1.", "reader-note.co-signed2.v1", report, false, v1 + "reader-note.co-signed2"},
		{"a known kind with optional is another one", mskcc, "diagnosticreport.withdrawn.optional.v1", report, true, v1 + "DiagnosticReport.withdrawn"},
		{"optional, in a study", mskcc, optionalReport, report, true, v1 + "readercomment.added"},
		{"optional as noun does not make it optional", mskcc, "optional.added.v1", report, false, v1 + "optional.added"},
		{"optional in the prefix does not either", mskcc + "optional.", "readercomment.added.v1", report, false, v1 + "readercomment.added"},
		{"the longest words and number", mskcc, events.Kind(long + "." + long + ".v999999999"), report, false, v1 + long + "." + long},
		{"a noun that starts like access", mskcc, "accession.added.v1", report, false, v1 + "accession.added"},
		{"an access kind that is not known", mskcc, unknownAccess, access, false, internal},
		{"a later version of a known access kind", mskcc, "access.partner.v2", access, false, internal},
		{"optional, among access events", mskcc, optionalAccess, access, true, internal},
		{"an announcement that is not known", mskcc, unknownAnnounce, partner, false, told},
		{"a later version of a known announcement", mskcc, "access.granted.v2", partner, false, told},
		{"optional, among announcements", mskcc, "access.reminded.optional.v1", partner, true, told},
	} {
		all = append(all, kindVector{typeOfStudy{v.name, v.prefix + string(v.kind), v.study}, v.kind, false, v.optional, v.subject, v.kind.MediaType()})
	}
	return all
}

func refusedKinds() []typeOfStudy {
	const report, access, partner = "FHIR-T", events.AccessStudy, "_partner/acme"
	return []typeOfStudy{
		{"no prefix", "diagnosticreport.retracted.v1", report},
		{"no prefix before optional", "readercomment.added.optional.v1", report},
		{"optional as verb, after a prefix of one word", "x.readercomment.optional.v1", report},
		{"optional twice", mskcc + "readercomment.optional.optional.v1", report},
		{"an empty prefix", ".diagnosticreport.retracted.v1", report},
		{"an empty word in the prefix", "org..diagnosticreport.retracted.v1", report},
		{"a capital in the prefix", "Org.mskcc.crit.diagnosticreport.retracted.v1", report},
		{"a capital in the prefix of a known kind", "Org.mskcc.crit.diagnosticreport.signed.v1", report},
		{"a capital in the noun", mskcc + "diagnosticReport.retracted.v1", report},
		{"a capital in the verb", mskcc + "diagnosticreport.Retracted.v1", report},
		{"an underscore", mskcc + "diagnostic_report.retracted.v1", report},
		{"a wildcard", mskcc + "diagnosticreport.*.v1", report},
		{"a wildcard for the rest", mskcc + "diagnosticreport.>.v1", report},
		{"a noun that starts with a digit", mskcc + "2ndreport.signed.v1", report},
		{"a verb that starts with a hyphen", mskcc + "diagnosticreport.-signed.v1", report},
		{"an empty noun", mskcc + ".retracted.v1", report},
		{"an empty verb", mskcc + "diagnosticreport..v1", report},
		{"a noun of 65 characters", mskcc + strings.Repeat("a", 65) + ".retracted.v1", report},
		{"a verb of 65 characters", mskcc + "diagnosticreport." + strings.Repeat("a", 65) + ".v1", report},
		{"no version", mskcc + "diagnosticreport.retracted", report},
		{"no version, optional at the end", mskcc + "diagnosticreport.retracted.optional", report},
		{"optional behind the version", mskcc + "diagnosticreport.retracted.v1.optional", report},
		{"version 0", mskcc + "diagnosticreport.retracted.v0", report},
		{"a version with a leading zero", mskcc + "diagnosticreport.retracted.v01", report},
		{"a version without number", mskcc + "diagnosticreport.retracted.v", report},
		{"a version with a sign", mskcc + "diagnosticreport.retracted.v+1", report},
		{"a version of ten digits", mskcc + "diagnosticreport.retracted.v1000000000", report},
		{"a version with a capital", mskcc + "diagnosticreport.retracted.V1", report},
		{"a version with more behind it", mskcc + "diagnosticreport.retracted.v1a", report},
		{"a dot at the end", mskcc + "diagnosticreport.retracted.v1.", report},
		{"dots alone", "....", report},
		{"a type of somebody else", "com.example.created", report},
		{"an access kind that is not known in a study", mskcc + "access.role.v1", report},
		{"an optional access kind in a study", mskcc + "access.contact.optional.v1", report},
		{"a report's kind that is not known among access events", mskcc + "diagnosticreport.retracted.v1", access},
		{"an optional kind of a study among access events", mskcc + "readercomment.added.optional.v1", access},
		{"a report's kind that is not known among announcements", mskcc + "diagnosticreport.retracted.v1", partner},
		{"a known access kind among announcements", mskcc + "access.partner.v1", partner},
		{"a known announcement among access events", mskcc + "access.granted.v1", access},
		{"optional as verb of access: its noun is another word", mskcc + "access.optional.v1", access},
		{"an internal study that there is not", mskcc + "access.role.v1", "_other"},
		{"a study that is no token", mskcc + "diagnosticreport.retracted.v1", "a.b"},
		{"announcements to what is no partner", mskcc + "access.paused.v1", "_partner/a.b"},
	}
}

// eventOf is an event of a type in a study, right in all other respects.
func eventOf(v typeOfStudy) events.Event {
	e := sampleEvent(events.DefaultNamespace, events.ReportSigned, v.Study, events.ChainHead{}, "{}")
	e.Type = v.Type
	e.Seal(events.ChainHead{})
	return e
}

func TestKindVectors(t *testing.T) {
	golden(t, "kinds.json", kindFile{
		Description: "Types of events, in a study each: which are well-formed, and which kinds are known. See README.md.",
		Accepted:    acceptedKinds(), Refused: refusedKinds(),
	})
	var file kindFile
	readJSON(t, "kinds.json", &file)
	for _, v := range file.Accepted {
		t.Run("accepted: "+v.Name+", "+v.Type, func(t *testing.T) {
			e := eventOf(v.typeOfStudy)
			got, err := events.FromHeader(e.Header(), e.Data)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (events.ChainHead{}).Follow(got); err != nil {
				t.Error(err)
			}
			k := got.Kind()
			if k != v.Kind || k.Known() != v.Known || k.Optional() != v.Optional || k.NeedsNewer() != (!v.Known && !v.Optional) {
				t.Errorf("kind %s, known %t, optional %t, needs a newer version: %t", k, k.Known(), k.Optional(), k.NeedsNewer())
			}
			if got.NATSSubject() != v.Subject || k.MediaType() != v.MediaType {
				t.Errorf("stored as %s, %s", got.NATSSubject(), k.MediaType())
			}
			checkSDK(t, got)
		})
	}
	for _, v := range file.Refused {
		t.Run("refused: "+v.Name, func(t *testing.T) {
			e := eventOf(v)
			if _, err := events.FromHeader(e.Header(), e.Data); events.CodeOf(err) != events.Invalid {
				t.Errorf("%s in %s returns %v, want an Invalid error", v.Type, v.Study, err)
			}
			if got := e.NATSSubject(); got != events.AccessSubject && !strings.HasPrefix(got, events.PartnerPrefix+"FHIR-T.") {
				t.Errorf("it would be stored as %s", got)
			}
		})
	}
}

func TestAnyMediaTypeIsReadAndNothingElse(t *testing.T) {
	for contentType, valid := range map[string]bool{
		"application/pdf": true, "text/plain;charset=utf-8": true, "application/fhir+json": true, "application/cloudevents+json": true,
		"pdf/": false, "/": false, "a/b/c": false, "application/fhir+json;": true, "application/fhir+json;x": false,
	} {
		e := sampleEvent(events.DefaultNamespace, unknownReport, "FHIR-T", events.ChainHead{}, "{}")
		e.DataContentType = contentType
		e.Seal(events.ChainHead{})
		_, err := events.FromHeader(e.Header(), e.Data)
		if (err == nil) != valid || err != nil && events.CodeOf(err) != events.Invalid {
			t.Errorf("%s returns %v", contentType, err)
		}
		if _, sdk := e.CloudEvent(); (sdk == nil) != valid {
			t.Errorf("the SDK has another opinion of %s: %v", contentType, sdk)
		}
	}
}
