package api

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/readmodel"
)

// answerForm is part of every search's ETag: count it up when the form of the
// answer changes.
const answerForm = "1"

// searchTag returns the ETag of a search's answer: a digest of all the answer
// is a function of, the end of the study's chain, and so its whole history,
// among it.
func (a *API) searchTag(s search, contentType string, history events.ChainHead) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d/%d\n%s\n%d/%s",
		answerForm, a.base, contentType, a.cfg.Count, s.count, s.queryOf(s.page), history.Number, history.Hash))
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// reportTag returns the ETag of a report as FHIR defines it.
func reportTag(report readmodel.Report) string {
	return `W/"` + strconv.FormatUint(report.Version, 10) + `"`
}

// setValidators says what the answer is, and that whoever keeps it asks again
// before using it: a grant may have been revoked.
func setValidators(h http.Header, contentType, tag string, modified time.Time) {
	h.Set("Content-Type", contentType)
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Authorization, X-Partnerid, Accept, Prefer")
	if !modified.IsZero() {
		h.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
}

// notModified reports whether the request's If-None-Match says that the client
// holds the answer. If-Modified-Since is not evaluated: two versions of a report
// may be of one second, and a reader that lags may show the later one long
// after, so that a date does not say which of them the client holds.
func notModified(r *http.Request, tag string) bool {
	return listsTag(strings.Join(r.Header.Values("If-None-Match"), ","), tag)
}

// listsTag compares weakly. No tag of ours holds a comma, so that cutting one
// of somebody else's in pieces makes no match.
func listsTag(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}
