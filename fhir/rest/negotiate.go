package rest

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// fhirVersion is the release that a media type may name, by its first two
// parts.
const fhirVersion = "4.1"

// offered are the types an answer may have, the default first. The bytes are
// the same.
var offered = [...]string{events.MediaFHIR, events.MediaJSON}

// Negotiate returns the media type to answer with: that of the parameter
// _format if there is one, else the one the Accept header likes best, else
// application/fhir+json. The error's code is NotAcceptable.
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

// fromQuery looks for _format, written in any case. Where there are several
// values or alternatives, the first that is offered counts.
func fromQuery(query string) (contentType string, found bool, err error) {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil || !strings.EqualFold(name, "_format") {
			continue
		}
		found = true
		// A plus sign means a space there, but who writes fhir+json means a plus sign.
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

// named returns the type that a _format names, empty if it is not offered.
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

// fromAccept chooses by quality, then by how exactly a type was asked for,
// then the default (RFC 9110, section 12.5.1). Ranges that are malformed are
// passed over.
func fromAccept(accept string) (string, error) {
	var best struct {
		contentType string
		quality     float64
		exactness   int
	}
	for _, o := range offered {
		quality, exactness := preference(accept, o)
		if quality > best.quality || quality == best.quality && quality > 0 && exactness > best.exactness {
			best.contentType, best.quality, best.exactness = o, quality, exactness
		}
	}
	if best.contentType == "" {
		return "", notAcceptable("Accept")
	}
	return best.contentType, nil
}

// preference returns the quality that the most exact range matching the type
// has, and how exact that is: 1 for */*, 2 for application/*, 3 for the type.
func preference(accept, contentType string) (quality float64, exactness int) {
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
		if ok && match > 0 && (match > exactness || match == exactness && q > quality) {
			quality, exactness = q, match
		}
	}
	return quality, exactness
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
