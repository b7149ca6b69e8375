package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// answerForm is part of the ETag of each search. Increase it when the form of
// answers changes.
const answerForm = "2"

// searchTag returns the ETag of the answer to a search: a digest of everything on
// which the answer depends. The study's head stands for its content.
func (a *API) searchTag(s search, contentType string, head readmodel.Head) string {
	covered := make([]byte, 0, 512)
	for _, text := range []string{answerForm, s.url, contentType, s.queryOf(s.page, s.asOf), head.Hash} {
		covered = append(append(covered, text...), '\n')
	}
	for _, n := range []uint64{uint64(a.cfg.Count), uint64(s.count), uint64(head.Derivation), head.Number} {
		covered = append(strconv.AppendUint(covered, n, 10), '\n')
	}
	return tagOf(covered)
}

// tagOf returns the ETag of what an answer depends on.
func tagOf(covered []byte) string {
	sum := sha256.Sum256(covered)
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// versionTag returns the ETag of a resource as FHIR defines it.
func versionTag(version uint64) string {
	return `W/"` + strconv.FormatUint(version, 10) + `"`
}

// setValidators sets the headers by which a client validates a stored answer. The client
// must do so before each use, because a grant may have been revoked. A zero modified sets
// no Last-Modified.
func setValidators(h http.Header, contentType, tag string, modified time.Time) {
	h.Set("Content-Type", contentType)
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Authorization, X-Partnerid, Accept, Prefer")
	if !modified.IsZero() {
		h.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
}

// writeNotModified answers that the client has the answer already.
func writeNotModified(w http.ResponseWriter, contentType, tag string, modified time.Time) {
	setValidators(w.Header(), contentType, tag, modified)
	w.WriteHeader(http.StatusNotModified)
}

// notModified reports whether the request's If-None-Match has the tag, so that
// the client already has the answer. A search by POST has no such condition.
// If-Modified-Since is ignored, because a date does not identify a version. Two versions
// of a report may be of the same second, and a read model that lags may show the later
// one long afterwards.
func notModified(r *http.Request, tag string) bool {
	return r.Method != http.MethodPost && listsTag(strings.Join(r.Header.Values("If-None-Match"), ","), tag)
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
	sum := sha256.Sum256(body)
	return document{mediaType: mediaType, body: body, tag: `W/"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
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
