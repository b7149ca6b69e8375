package api

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/fhir/strictjson"
	"github.com/seed-e88a4ece/signoff/outbox/intake"
)

// maxBody bounds a body in bytes, as a record of an import is bounded.
const maxBody = intake.MaxRecord

// readBody returns the body of a request and its media type, which must be one of those
// allowed.
func readBody(w http.ResponseWriter, q *request, allowed ...string) (body []byte, mediaType string, err error) {
	mediaType, _, err = mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(allowed, mediaType) {
		return nil, "", events.Errorf(events.UnsupportedMedia, "The body must have the Content-Type %s.", allowed[0])
	}
	if coding := q.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, "", events.Errorf(events.UnsupportedMedia, "The body must not be compressed.")
	}
	body, err = rest.ReadBody(w, q.Request, maxBody)
	return body, mediaType, err
}

// members has for each member that an object may have the function that reads its value.
type members map[string]func(*strictjson.Reader) error

// text reads a string into to.
func text(to *string) func(*strictjson.Reader) error {
	return func(r *strictjson.Reader) (err error) {
		*to, err = r.Text()
		return err
	}
}

// read reads an object. Members that are not named are refused.
func (m members) read(r *strictjson.Reader) error {
	_, err := r.Object(func(name []byte) error {
		member, ok := m[string(name)]
		if !ok {
			return events.Errorf(events.Unsupported, "is not supported here; remove it")
		}
		return member(r)
	})
	return err
}

// readJSON reads the body of a request, which is one JSON object.
func readJSON(w http.ResponseWriter, q *request, m members) error {
	body, _, err := readBody(w, q, events.MediaJSON)
	if err != nil {
		return err
	}
	err = strictjson.Read(body, m.read)
	if err != nil && !errors.As(err, new(*events.Error)) {
		return &events.Error{Code: events.Invalid, Message: "The body is not valid JSON.", Err: err}
	}
	return err
}

// required returns an error if one of the values is missing. Fields are name, value, name,
// value ….
func required(fields ...string) error {
	for field := range slices.Chunk(fields, 2) {
		if slices.Index(field, "") == 1 {
			return &events.Error{Code: events.Required, Field: field[0], Message: "is missing"}
		}
	}
	return nil
}

// ifMatch returns the entity tag in the header If-Match without its quotes, or "" if the
// header is absent. A caller that has read an assessment sends its tag. So "*", which
// matches whatever is stored, is refused.
func ifMatch(q *request) (tag string, err error) {
	values := q.Header.Values("If-Match")
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 || !entityTag.MatchString(values[0]):
		return "", events.Fieldf("If-Match", "must be one ETag of this assessment, in its quotes")
	}
	return values[0][1 : len(values[0])-1], nil
}

var entityTag = regexp.MustCompile(`^"[\x21\x23-\x7e]+"$`)

// mustMatch is ifMatch for a call that needs the header.
func mustMatch(q *request) (tag string, err error) {
	if tag, err = ifMatch(q); err == nil && tag == "" {
		err = events.Errorf(events.PreconditionRequired, "Send If-Match with the ETag of the assessment as you have read it.")
	}
	return tag, err
}

// etag returns the value of the header ETag for a tag.
func etag(tag string) string { return `"` + tag + `"` }

// query returns the parameters of a request. It refuses those that are not allowed, and
// one that is there twice. Empty ones count as absent.
func query(q *request, allowed ...string) (url.Values, error) {
	values, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return nil, &events.Error{Code: events.Invalid, Message: "The query is malformed.", Err: err}
	}
	for name, v := range values {
		if !slices.Contains(allowed, name) {
			return nil, events.Errorf(events.Unsupported, "the parameter %s is not supported; remove it", intake.Printable(name))
		}
		if len(v) > 1 {
			return nil, events.Fieldf(name, "is there twice")
		}
	}
	return values, nil
}

// number returns a parameter as a number from least to most, or 0 if it is absent.
func number(values url.Values, name string, least, most int64) (int64, error) {
	if values.Get(name) == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(values.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, events.Fieldf(name, "must be a number from %d to %d", least, most)
	}
	return n, nil
}
