package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

// document is an answer that is the same for everyone as long as the program runs.
type document struct {
	body []byte
	tag  string
}

func newDocument(body []byte) document {
	sum := sha256.Sum256(body)
	return document{body: body, tag: `W/"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}
}

// write answers with the document, or with 304 if the client has it.
func (d document) write(w http.ResponseWriter, r *http.Request, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("ETag", d.tag)
	h.Set("Cache-Control", "public, max-age=300")
	if notModified(r, d.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	write(w, d.body)
}
