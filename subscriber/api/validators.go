package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// answerForm is part of the ETag of each search. Increase it when the form of
// answers changes.
const answerForm = "2"

// searchTag returns the ETag of the answer to a search: a digest of everything on
// which the answer depends. The study's head stands for its content.
func (a *API) searchTag(s *search, contentType string, head readmodel.Head) string {
	covered := make([]byte, 0, 512)
	for _, text := range [...]string{answerForm, s.url, contentType, head.Hash} {
		covered = append(append(covered, text...), '\n')
	}
	covered = append(s.appendQuery(covered, s.page, s.asOf), '\n')
	for _, n := range [...]uint64{uint64(a.cfg.Count), uint64(s.count), uint64(head.Derivation), head.Number} {
		covered = append(strconv.AppendUint(covered, n, 10), '\n')
	}
	return tagOf(covered)
}

// tagOf returns the ETag of what an answer depends on.
func tagOf(covered []byte) string {
	sum := sha256.Sum256(covered)
	tag := base64.RawURLEncoding.AppendEncode(append(make([]byte, 0, 32), `W/"`...), sum[:16])
	return string(append(tag, '"'))
}

// versionTag returns the ETag of a resource as FHIR defines it.
func versionTag(version uint64) string {
	return `W/"` + strconv.FormatUint(version, 10) + `"`
}

// The values of headers that are the same for many answers. They are never changed.
var (
	cacheControl = []string{"private, no-cache"}
	mediaTypes   = map[string][]string{events.MediaFHIR: {events.MediaFHIR}, events.MediaJSON: {events.MediaJSON}}
)

// setValidators sets the headers by which a client validates a stored answer, and the
// study number that the answer reflects. The client must validate before each use,
// because a grant may have been revoked. It writes into the map, because Set would
// allocate for each header.
func setValidators(h http.Header, contentType, tag string, number uint64) {
	values := [...]string{tag, strconv.FormatUint(number, 10)}
	h["Etag"], h[numberHeader] = values[:1:1], values[1:]
	h["Content-Type"] = mediaTypes[contentType]
	h["Cache-Control"] = cacheControl
	h["Vary"] = append(h["Vary"], "Authorization, X-Partnerid, Accept, Prefer")
}

// notModified reports whether the request's If-None-Match has the tag, so that
// the client already has the answer. A search by POST has no such condition.
// If-Modified-Since is ignored, because a date does not identify a version. Two versions
// of a report may be of the same second, and a read model that lags may show the later
// one long afterwards.
func notModified(r *http.Request, tag string) bool {
	return r.Method != http.MethodPost && listsTag(strings.Join(r.Header["If-None-Match"], ","), tag)
}

// listsTag reports whether the list has the tag, by weak comparison. It may split
// a tag that contains a comma; our tags contain none, so no part of it matches.
func listsTag(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// document is an answer that is the same for everyone as long as the program runs.
type document struct {
	mediaType string // empty: negotiated
	body      []byte
	tag       string
}

// newDocument returns a document whose tag is made from its body.
func newDocument(mediaType string, body []byte) document {
	return document{mediaType: mediaType, body: body, tag: tagOf(body)}
}

// answer sends the document, or 304 if the client has it. Its Content-Security-Policy
// permits a page to load and run nothing.
func (d document) answer(w http.ResponseWriter, r *request) error {
	mediaType := d.mediaType
	if mediaType == "" {
		var err error
		if mediaType, err = rest.Negotiate(r.Request); err != nil {
			return err
		}
		w.Header().Add("Vary", "Accept")
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("ETag", d.tag)
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	if notModified(r.Request, d.tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	write(w, d.body)
	return nil
}
