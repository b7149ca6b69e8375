package events

import "strings"

// Kind is an event type without the installation's prefix. The package comment
// has its form; a program meets kinds that only newer ones know.
type Kind string

// The kinds of events that this version knows. The first five are published to
// the partners of their study, the last two to the partner they concern. Who
// adds one also raises the read model's derivation, so that models in which it
// was not known are made anew.
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

// Media types of event bodies.
const (
	MediaFHIR = "application/fhir+json"
	MediaJSON = "application/json"
)

// MediaType is the ce-datacontenttype of the kind's events, known or not.
func (k Kind) MediaType() string {
	if k.internal() {
		return MediaJSON
	}
	return MediaFHIR
}

// Known reports whether k is one of the kinds above.
func (k Kind) Known() bool {
	switch k {
	case ReportSigned, ReportAmended, ReportSuperseded, ReportWithdrawn, ObservationsSigned:
		return true
	default:
		return k.administers() || k.announces()
	}
}

// Optional reports whether who does not know the kind may pass over its events.
func (k Kind) Optional() bool { return strings.Contains(string(k), "."+optional+".") }

// NeedsNewer reports whether only a newer version of the program knows what
// follows from events of the kind: it is not known, and not optional.
func (k Kind) NeedsNewer() bool { return !k.Known() && !k.Optional() }

// administers reports whether k is a known kind of AccessStudy.
func (k Kind) administers() bool { return k == AccessPartner || k == AccessKey }

// announces reports whether k is a known kind of a PartnerStudy.
func (k Kind) announces() bool { return k == AccessGranted || k == AccessRevoked }

// internal reports whether the kind's events, known or not, belong to internal
// studies: those whose noun is access do.
func (k Kind) internal() bool { return strings.HasPrefix(string(k), "access.") }

// in says what is wrong with events of the kind in a study, named by its token.
func (k Kind) in(study string) error {
	partner, announced := PartnerOf(study)
	switch {
	case announced && !ValidPartnerID(partner), study != AccessStudy && !announced && !studyKey(study):
		return Fieldf("study", "%q is not a study token: 1 to 64 of A-Z, a-z, 0-9, - and _, the first of them no _", clip(study))
	case k.internal() != InternalStudy(study), k.administers() && announced, k.announces() && !announced:
		return Fieldf("study", "%q holds no events of the kind %s", study, clip(string(k)))
	}
	return nil
}

// subjectNouns are written otherwise in NATS subjects than in types. Nothing may
// be added here: an older program must find the same subject for a kind that it
// does not know.
var subjectNouns = map[string]string{"diagnosticreport": "DiagnosticReport", "observations": "Observation"}

// subjectTail is what follows the study token in the subject of the kind's events.
func (k Kind) subjectTail() string {
	words := strings.Split(string(k), ".")
	if noun, ok := subjectNouns[words[0]]; ok {
		words[0] = noun
	}
	return words[0] + "." + words[1]
}

// Publishes reports whether an event of the kind makes a report available.
func (k Kind) Publishes() bool { return k == ReportSigned || k == ReportAmended }

// optional is the word before the version of a type whose events may be passed over.
const optional = "optional"

// kindOf finds the kind at the end of a CloudEvents type. Not ok: the type is
// malformed. The package comment has the form.
func kindOf(eventType string) (k Kind, ok bool) {
	words := strings.Split(eventType, ".")
	size := 3 // noun, verb and version
	if len(words) > size && words[len(words)-2] == optional {
		size = 4
	}
	if len(words) <= size { // the prefix has one word at least
		return "", false
	}
	prefix, kind := words[:len(words)-size], words[len(words)-size:]
	for _, word := range prefix {
		if !wordForm(word) {
			return "", false
		}
	}
	if !nameForm(kind[0]) || !nameForm(kind[1]) || kind[1] == optional || !versionForm(kind[size-1]) {
		return "", false
	}
	return Kind(strings.Join(kind, ".")), true
}

// wordForm reports whether word consists of a to z, 0 to 9 and hyphens.
func wordForm(word string) bool {
	for i := range len(word) {
		if c := word[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return word != ""
}

// nameForm reports whether word may be the noun or the verb of a kind.
func nameForm(word string) bool {
	return wordForm(word) && len(word) <= 64 && word[0] >= 'a' && word[0] <= 'z'
}

// versionForm reports whether word is v and a number from 1 on.
func versionForm(word string) bool {
	digits, ok := strings.CutPrefix(word, "v")
	return ok && len(digits) <= 9 && strings.Trim(digits, "0123456789") == "" && strings.TrimLeft(digits, "0") == digits && digits != ""
}
