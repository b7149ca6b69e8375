package events

import "strings"

// Kind is an event type without the installation's prefix; see the package comment
// for its form. An event from a newer publisher may have a kind that is not among
// the constants.
type Kind string

// The kinds of events that this version knows. The first five are published to
// the partners of their study, AccessGranted and AccessRevoked to the partner they
// concern, the others to nobody. Whoever adds a kind that readers must know also raises
// the read model's derivation, so that read models that ignored its events are made anew.
const (
	ReportSigned       Kind = "diagnosticreport.signed.v1"     // first publication of an assessment
	ReportAmended      Kind = "diagnosticreport.amended.v1"    // every later publication
	ReportSuperseded   Kind = "diagnosticreport.superseded.v1" // its case moved to a higher revision
	ReportWithdrawn    Kind = "diagnosticreport.withdrawn.v1"  // the PI withdrew it, with a reason
	ObservationsSigned Kind = "observations.signed.v1"         // lesions of the report that follows
	AccessPartner      Kind = "access.partner.v1"              // a partner's whole state
	AccessKey          Kind = "access.key.v1"                  // a public key of access tokens
	AccessAudited      Kind = "access.audited.optional.v1"     // number, hash and time of the last line of the audit trail
	AccessGranted      Kind = "access.granted.v1"              // announces to a partner that it may see a study
	AccessRevoked      Kind = "access.revoked.v1"              // announces to a partner that it no longer may
)

// Media types of event bodies.
const (
	MediaFHIR = "application/fhir+json"
	MediaJSON = "application/json"
)

// MediaType returns the ce-datacontenttype of the kind's events. The kind need not
// be known.
func (k Kind) MediaType() string {
	if k.internal() {
		return MediaJSON
	}
	return MediaFHIR
}

// Known reports whether k is one of the constants.
func (k Kind) Known() bool {
	switch k {
	case ReportSigned, ReportAmended, ReportSuperseded, ReportWithdrawn, ObservationsSigned:
		return true
	default:
		return k.administers() || k.announces()
	}
}

// Optional reports whether a program that does not know the kind may ignore its
// events.
func (k Kind) Optional() bool { return strings.Contains(string(k), "."+optional+".") }

// NeedsNewer reports whether a newer version of the program is needed for events
// of the kind: it is neither known nor optional.
func (k Kind) NeedsNewer() bool { return !k.Known() && !k.Optional() }

// administers reports whether k is a known kind of event that only AccessStudy may have.
func (k Kind) administers() bool { return k == AccessPartner || k == AccessKey || k == AccessAudited }

// announces reports whether k is a known kind of event that only a PartnerStudy may have.
func (k Kind) announces() bool { return k == AccessGranted || k == AccessRevoked }

// internal reports whether the kind's events belong to internal studies: its noun is
// "access". The kind need not be known.
func (k Kind) internal() bool { return strings.HasPrefix(string(k), "access.") }

// in returns an error unless study is a study key, clinical or internal, of a study that
// may have events of the kind. Of an unknown kind, only the noun decides.
func (k Kind) in(study string) error {
	partner, ofPartner := PartnerOf(study)
	switch {
	case ofPartner && !ValidPartnerID(partner), study != AccessStudy && !ofPartner && !clinicalKey(study):
		return Fieldf("study", "%q is not a study key: 1 to 64 of A-Z, a-z, 0-9, - and _, not starting with _", clip(study))
	case k.internal() != InternalStudy(study), k.administers() && ofPartner, k.announces() && !ofPartner:
		return Fieldf("study", "%q must not have events of the kind %s", study, clip(string(k)))
	}
	return nil
}

// subjectNouns maps the nouns of types to the nouns in NATS subjects, for those that
// differ. Nothing may be added: an older program must compute the same subject for a kind
// that it does not know.
var subjectNouns = map[string]string{"diagnosticreport": "DiagnosticReport", "observations": "Observation"}

// subjectTail returns what follows the study key in the NATS subject of the kind's
// events: noun and verb. The kind must be well-formed.
func (k Kind) subjectTail() string {
	words := strings.Split(string(k), ".")
	if noun, ok := subjectNouns[words[0]]; ok {
		words[0] = noun
	}
	return words[0] + "." + words[1]
}

// Publishes reports whether an event of the kind makes a report available.
func (k Kind) Publishes() bool { return k == ReportSigned || k == ReportAmended }

// optional is the word before the version in the type of an optional kind.
const optional = "optional"

// kindOf returns the kind at the end of a CloudEvents type, and whether the type is
// well-formed; see the package comment.
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

// versionForm reports whether word may be the version of a kind: v and a number
// from 1 on.
func versionForm(word string) bool {
	digits, ok := strings.CutPrefix(word, "v")
	return ok && len(digits) <= 9 && strings.Trim(digits, "0123456789") == "" && strings.TrimLeft(digits, "0") == digits && digits != ""
}
