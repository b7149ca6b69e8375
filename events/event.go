package events

import (
	"crypto/sha256"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Event is a CloudEvent 1.0 of a study, numbered and chained. The characters of its
// attribute values are U+0021 to U+007E without " and %, because CloudEvents SDKs
// encode other characters in different ways.
type Event struct {
	ID              string    // UUIDv7, also the Nats-Msg-Id
	Source          string    // {origin}/ResearchStudy/{study key}; of a PartnerStudy {origin}/Partner/{id}
	Type            string    // {prefix}{kind}
	Subject         string    // DiagnosticReport/{id}/_history/{n}, Partner/{id}, Key/{kid} or ResearchStudy/{study key}; of unknown kinds any text
	Time            time.Time // UTC, to the microsecond; strictly increases within the study
	DataContentType string
	Study           string // study key
	Number          uint64 // 1, 2, 3 … within the study, without gaps
	PartitionKey    string // {study key}/{case}; of a PartnerStudy its study key
	PreviousHash    string // Hash of the event before it in the study; NoHash for the first
	Hash            string // see Digest
	TraceParent     string // W3C trace context; may be empty; not covered by the hash
	Data            []byte // FHIR JSON, byte for byte as signed; of internal studies JSON
}

// Kind returns the kind of the event's type. It may be one that this version does
// not know. It is empty for a malformed type.
func (e Event) Kind() Kind {
	k, _ := kindOf(e.Type)
	return k
}

// ReportID returns the assessment id in the Subject of an event about a report. Version is
// the study number of the event that first carried the report's bytes. Ok is false for
// any other Subject.
func (e Event) ReportID() (id string, version uint64, ok bool) {
	rest, ok := strings.CutPrefix(e.Subject, "DiagnosticReport/")
	if !ok {
		return "", 0, false
	}
	id, n, ok := strings.Cut(rest, "/_history/")
	version, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || version == 0 || !ValidFHIRID(id) || ReportSubject(id, version) != e.Subject {
		return "", 0, false
	}
	return id, version, true
}

// ReportSubject returns the Subject of an event about the report of an assessment. Version
// is the study number of the event that first carried the report's bytes.
func ReportSubject(id string, version uint64) string {
	return fmt.Sprintf("DiagnosticReport/%s/_history/%d", id, version)
}

// Namespace distinguishes the events of one installation from those of others. It
// is set when the outbox is created and never changes.
type Namespace struct {
	Origin     string // a URI reference, the start of every source
	TypePrefix string // the start of every type, ends in a dot
}

// DefaultNamespace is the namespace of an installation that configures none.
var DefaultNamespace = Namespace{Origin: "/signoff", TypePrefix: "org.mskcc.crit."}

var (
	prefixForm = regexp.MustCompile(`^([a-z0-9-]+\.)+$`)
	userForm   = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)
)

// Validate returns an error unless the namespace is valid.
func (ns Namespace) Validate() error {
	if len(ns.Origin) > maxText || !attributeForm(ns.Origin) || strings.HasSuffix(ns.Origin, "/") {
		return Fieldf("origin", "%q is not a URI reference of printable ASCII without a slash at its end", clip(ns.Origin))
	}
	// It must be in the form that package url writes, so that every SDK keeps it unchanged.
	if u, err := url.Parse(ns.Origin); err != nil || u.String() != ns.Origin || u.RawQuery != "" || u.Fragment != "" {
		return Fieldf("origin", "%q is not a URI reference without query and fragment, such as /signoff or https://example.org/signoff", ns.Origin)
	}
	if len(ns.TypePrefix) > maxText || !prefixForm.MatchString(ns.TypePrefix) {
		return Fieldf("type prefix", "%q is not reverse-DNS ending in a dot, such as org.example.", clip(ns.TypePrefix))
	}
	return nil
}

// Source returns the CloudEvents source of the events of the study with this key.
func (ns Namespace) Source(key string) string {
	if partner, ok := PartnerOf(key); ok {
		return ns.Origin + "/Partner/" + partner
	}
	return ns.Origin + "/ResearchStudy/" + key
}

// Type returns the CloudEvents type of a kind.
func (ns Namespace) Type(k Kind) string { return ns.TypePrefix + string(k) }

// Validate returns an error unless each attribute of the event is there and
// well-formed. It does not check the hash or the chain, and it accepts kinds that
// this version does not know.
func (e Event) Validate() error {
	if err := e.validateText(); err != nil {
		return err
	}
	kind, ok := kindOf(e.Type)
	if !ok {
		return Fieldf("type", "%q is not of the form {prefix}{noun}.{verb}.v{number} or {prefix}{noun}.{verb}.optional.v{number}, in lower case", clip(e.Type))
	}
	if err := kind.in(e.Study); err != nil {
		return err
	}
	if t, err := ParseTime(FormatTime(e.Time)); err != nil || e.Time.IsZero() || !t.Equal(e.Time) {
		return Fieldf("time", "must be set, to the microsecond, in the years 1 to 9999")
	}
	if e.Number == 0 {
		return Fieldf("sequence", "must be 1 or more")
	}
	if !hashForm(e.PreviousHash) || !hashForm(e.Hash) {
		return Fieldf("hash", "must be 64 lower-case hexadecimal digits, like previoushash")
	}
	return nil
}

// validateText returns an error unless the attributes that are text are well-formed.
func (e Event) validateText() error {
	for _, a := range []struct{ name, value string }{
		{"id", e.ID}, {"source", e.Source}, {"type", e.Type}, {"subject", e.Subject},
		{"datacontenttype", e.DataContentType}, {"study", e.Study}, {"partitionkey", e.PartitionKey},
	} {
		if len(a.value) > 1024 || !attributeForm(a.value) {
			return Fieldf(a.name, "must be 1 to 1024 characters of printable ASCII without space, quote and percent")
		}
	}
	if u, err := url.Parse(e.Source); err != nil || u.String() != e.Source {
		return Fieldf("source", "%q is not a URI reference in the form in which every SDK writes it", clip(e.Source))
	}
	if !mediaTypeForm(e.DataContentType) {
		return Fieldf("datacontenttype", "%q is not a media type", clip(e.DataContentType))
	}
	if e.TraceParent != "" && (len(e.TraceParent) > 256 || !attributeForm(e.TraceParent)) {
		return Fieldf("traceparent", "is not a W3C trace context")
	}
	return nil
}

// attributeForm reports whether value may be the value of an attribute. It is a
// loop and no regular expression, because it runs ten times for each event.
func attributeForm(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < 0x21 || c > 0x7e || c == '"' || c == '%' {
			return false
		}
	}
	return value != ""
}

// mediaTypeForm reports whether the CloudEvents SDK accepts value as a media type.
func mediaTypeForm(value string) bool {
	if value == MediaFHIR || value == MediaJSON {
		return true
	}
	_, _, err := mime.ParseMediaType(value)
	return err == nil
}

// hashForm reports whether hash is 64 lower-case hexadecimal digits.
func hashForm(hash string) bool {
	for i := range len(hash) {
		if c := hash[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(hash) == 2*sha256.Size
}
