package api

import (
	"mime"
	"net/http"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

const mediaForm = "application/x-www-form-urlencoded"

// addForm adds the parameters in the request's body to those in its URL. So the links
// of the answer, which are for GET, have both.
func (a *API) addForm(w http.ResponseWriter, r *request) error {
	// A form may write each byte as three.
	body, err := rest.ReadBody(w, r.Request, 3*int64(a.cfg.MaxQuery))
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	if err := checkForm(r.Header); err != nil {
		return err
	}
	u := *r.URL
	u.RawQuery = strings.Trim(u.RawQuery+"&"+strings.TrimRight(string(body), "\r\n"), "&")
	combined := *r.Request
	combined.URL = &u
	r.Request = &combined
	return nil
}

// checkForm refuses a body that is no form in UTF-8.
func checkForm(h http.Header) error {
	media, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || media != mediaForm {
		return events.Errorf(events.UnsupportedMedia, "The body must be of the type %s.", mediaForm)
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return events.Errorf(events.UnsupportedMedia, "The form must be in UTF-8.")
	}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return events.Errorf(events.UnsupportedMedia, "The body must not be compressed.")
	}
	return nil
}
