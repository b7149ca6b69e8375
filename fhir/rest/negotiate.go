package rest

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// fhirVersion is the FHIR version that a media type may name, without its last
// part.
const fhirVersion = "4.1"

// offered are the media types of answers, the default first. The bytes are the
// same for each.
var offered = [...]string{events.MediaFHIR, events.MediaJSON}

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
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return events.MediaFHIR, nil
	}
	return fromAccept(accept)
}

// fromQuery returns the media type of the parameter _format, whose name is
// matched without regard to case. Of several values the first that is offered
// counts.
func fromQuery(query string) (contentType string, found bool, err error) {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil || !strings.EqualFold(name, "_format") {
			continue
		}
		found = true
		// PathUnescape leaves a plus sign as it is: fhir+json is often sent unescaped.
		value, err := url.PathUnescape(value)
		if err != nil {
			return "", true, events.Fieldf("_format", "is not percent-encoded UTF-8")
		}
		for format := range strings.SplitSeq(value, ",") {
			if contentType := named(strings.ReplaceAll(strings.TrimSpace(format), " ", "+")); contentType != "" {
				return contentType, true, nil
			}
		}
	}
	if found {
		return "", true, notAcceptable("_format")
	}
	return "", false, nil
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

func versionFits(parameters map[string]string) bool {
	v, ok := parameters["fhirversion"]
	return !ok || v == fhirVersion || strings.HasPrefix(v, fhirVersion+".")
}

// fromAccept chooses the type with the highest quality. Among equals, it chooses
// the one that a more specific range matches, then the default (RFC 9110,
// section 12.5.1). Malformed ranges are ignored.
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

// preference returns the quality of the most specific range that matches the
// type, and how specific that range is: 1 for */*, 2 for application/*, 3 for
// the type itself.
func preference(accept, contentType string) (quality float64, specificity int) {
	for media := range strings.SplitSeq(accept, ",") {
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
		Message: "only JSON is offered: " + events.MediaFHIR + " or " + events.MediaJSON,
	}
}
