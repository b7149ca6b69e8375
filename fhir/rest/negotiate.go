package rest

import (
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// fhirVersion is the FHIR version that a media type may name. A third part, as in
// 4.1.0, may follow.
const fhirVersion = "4.1"

// offered are the media types of answers, the default first. The bytes are the
// same for each.
var offered = [...]string{events.MediaFHIR, events.MediaJSON}

// Formats returns the values of _format that are offered.
func Formats() []string { return append(offered[:], "json") }

// Negotiate returns the media type of the answer: that of the parameter _format
// if there is one, else the one that the Accept header prefers, else
// application/fhir+json. The error's code is NotAcceptable, or Invalid for a
// _format that cannot be decoded.
func Negotiate(r *http.Request) (contentType string, err error) {
	if r.URL.RawQuery != "" {
		if contentType, found, err := fromQuery(r.URL.RawQuery); found || err != nil {
			return contentType, err
		}
	}
	accept := strings.Join(r.Header["Accept"], ",")
	if strings.TrimSpace(accept) == "" {
		return events.MediaFHIR, nil
	}
	return fromAccept(accept)
}

// fromQuery returns the media type of the parameter _format, whose name is matched
// without regard to case. Of several values it takes the first that is offered, and
// ignores empty ones. Found reports whether the query has the parameter.
func fromQuery(query string) (contentType string, found bool, err error) {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil || !strings.EqualFold(name, "_format") || value == "" {
			continue
		}
		found = true
		value, err := url.QueryUnescape(value)
		if err != nil {
			return "", true, events.Fieldf("_format", "is not percent-encoded UTF-8")
		}
		for format := range strings.SplitSeq(FormatValue(value), ",") {
			if contentType := named(format); contentType != "" {
				return contentType, true, nil
			}
		}
	}
	if found {
		return "", true, notAcceptable("_format")
	}
	return "", false, nil
}

// lostPlus is a media type in which an unescaped plus sign was decoded as a space.
var lostPlus = regexp.MustCompile(`(?i)\bfhir json\b`)

// FormatValue returns the canonical form of a decoded value of _format, for use in
// links. It removes spaces around the media types. It restores the plus sign of
// fhir+json, which is decoded as a space if it was sent unescaped.
func FormatValue(value string) string {
	formats := strings.Split(value, ",")
	for i, format := range formats {
		formats[i] = lostPlus.ReplaceAllString(strings.TrimSpace(format), "fhir+json")
	}
	return strings.Join(formats, ",")
}

// named returns the media type for a value of _format, "" if it is not offered.
func named(format string) string {
	if strings.EqualFold(format, "json") {
		return events.MediaJSON
	}
	kind, parameters, err := mime.ParseMediaType(format)
	if err != nil || !versionFits(parameters) {
		return ""
	}
	for _, o := range offered {
		if kind == o {
			return o
		}
	}
	return ""
}

// versionFits reports whether the parameters of a media type name no FHIR version or
// the supported one.
func versionFits(parameters map[string]string) bool {
	v, ok := parameters["fhirversion"]
	return !ok || v == fhirVersion || strings.HasPrefix(v, fhirVersion+".")
}

// fromAccept returns the offered type with the highest quality (the parameter q) in
// the header Accept. Of equal ones it prefers the one that a more specific range
// matches, then the default (RFC 9110, section 12.5.1). Malformed ranges are ignored.
func fromAccept(accept string) (string, error) {
	var best struct {
		contentType string
		quality     float64
		specificity int
	}
	for _, o := range offered {
		quality, specificity := preference(accept, o)
		if quality > best.quality || quality == best.quality && quality > 0 && specificity > best.specificity {
			best.contentType, best.quality, best.specificity = o, quality, specificity
		}
	}
	if best.contentType == "" {
		return "", notAcceptable("Accept")
	}
	return best.contentType, nil
}

// preference returns the quality of the most specific range that matches the type,
// and how specific that range is: 1 for */*, 2 for application/*, 3 for the type
// itself, and 0 if none matches.
func preference(accept, contentType string) (quality float64, specificity int) {
	for media := range SplitList(accept, ',') {
		kind, parameters, err := mime.ParseMediaType(media)
		if err != nil || !versionFits(parameters) {
			continue
		}
		match := 0
		switch kind {
		case contentType:
			match = 3
		case "application/*":
			match = 2
		case "*/*":
			match = 1
		}
		q, ok := parseQuality(parameters["q"])
		if ok && match > 0 && (match > specificity || match == specificity && q > quality) {
			quality, specificity = q, match
		}
	}
	return quality, specificity
}

// AcceptsGzip reports whether the answer to a request may be compressed with gzip. It
// is for a handler that has compressed bytes stored. It returns false for HEAD, whose
// answers Wrap does not compress either.
func AcceptsGzip(r *http.Request) bool {
	if r.Method == http.MethodHead {
		return false
	}
	for coding := range SplitList(strings.Join(r.Header.Values("Accept-Encoding"), ","), ',') {
		name, quality, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, text, _ := strings.Cut(quality, "=")
			q, ok := parseQuality(strings.TrimSpace(text))
			return ok && q > 0
		}
	}
	return false
}

// parseQuality returns the value of the parameter q, which is 1 if it is missing. It
// reports false if q is not from 0 to 1.
func parseQuality(text string) (float64, bool) {
	if text == "" {
		return 1, true
	}
	q, err := strconv.ParseFloat(text, 64)
	return q, err == nil && q >= 0 && q <= 1
}

func notAcceptable(field string) error {
	return &events.Error{
		Code: events.NotAcceptable, Field: field,
		Message: "only JSON of FHIR " + fhirVersion + " is offered: " + events.MediaFHIR + " or " + events.MediaJSON,
	}
}
