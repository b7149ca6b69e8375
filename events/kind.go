package events

import "strings"

// Kind is an event type without the installation's prefix.
type Kind string

// The kinds of events. The first five are published to the partners of their
// study, the last two to the partner they concern.
const (
	ReportSigned       Kind = "diagnosticreport.signed.v1"     // first publication of an assessment
	ReportAmended      Kind = "diagnosticreport.amended.v1"    // every later publication
	ReportSuperseded   Kind = "diagnosticreport.superseded.v1" // its case moved to a higher revision
	ReportWithdrawn    Kind = "diagnosticreport.withdrawn.v1"  // the PI withdrew it, with a reason
	ObservationsSigned Kind = "observations.signed.v1"         // lesions of the report that follows
	AccessPartner      Kind = "access.partner.v1"              // a partner's whole state
	AccessKey          Kind = "access.key.v1"                  // a public key of tokens
	AccessGranted      Kind = "access.granted.v1"              // tells a partner that it may see a study
	AccessRevoked      Kind = "access.revoked.v1"              // tells a partner that it no longer may
)

// subjectTails maps a kind to what follows the study token in its subject.
var subjectTails = map[Kind]string{
	ReportSigned:       "DiagnosticReport.signed",
	ReportAmended:      "DiagnosticReport.amended",
	ReportSuperseded:   "DiagnosticReport.superseded",
	ReportWithdrawn:    "DiagnosticReport.withdrawn",
	ObservationsSigned: "Observation.signed",
}

// Media types of event bodies.
const (
	MediaFHIR = "application/fhir+json"
	MediaJSON = "application/json"
)

// MediaType is the ce-datacontenttype of the kind's events.
func (k Kind) MediaType() string {
	if _, ok := subjectTails[k]; ok {
		return MediaFHIR
	}
	return MediaJSON
}

// Known reports whether k is one of the kinds above.
func (k Kind) Known() bool {
	_, published := subjectTails[k]
	return published || k.administers() || k.announces()
}

// administers reports whether the kind's events belong to AccessStudy.
func (k Kind) administers() bool { return k == AccessPartner || k == AccessKey }

// announces reports whether the kind's events belong to a PartnerStudy.
func (k Kind) announces() bool { return k == AccessGranted || k == AccessRevoked }

// in says what is wrong with events of the kind in a study, named by its token.
func (k Kind) in(study string) error {
	partner, announced := PartnerOf(study)
	switch {
	case announced && !ValidPartnerID(partner), study != AccessStudy && !announced && !studyToken(study):
		return Fieldf("study", "%q is not a study token: 1 to 64 of A-Z, a-z, 0-9, - and _, the first of them no _", clip(study))
	case k.administers() != (study == AccessStudy), k.announces() != announced:
		return Fieldf("study", "%q holds no events of the kind %s", study, k)
	}
	return nil
}

// Publishes reports whether an event of the kind makes a report available.
func (k Kind) Publishes() bool { return k == ReportSigned || k == ReportAmended }

// kindOf finds the kind at the end of a CloudEvents type.
func kindOf(eventType string) (Kind, bool) {
	parts := strings.Split(eventType, ".")
	if len(parts) < 4 { // a prefix of one word at least, and three of the kind
		return "", false
	}
	k := Kind(strings.Join(parts[len(parts)-3:], "."))
	if !k.Known() {
		return "", false
	}
	return k, true
}
