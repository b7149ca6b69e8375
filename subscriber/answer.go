package subscriber

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

const (
	maxAnswer   = 64 << 10 // bytes of an answer of the token endpoint
	maxToken    = 16 << 10 // bytes
	defaultLife = 5 * time.Minute
	longestLife = 24 * time.Hour
)

// answer is what a token endpoint says (RFC 6749, sections 5.1 and 5.2).
type answer struct {
	TokenType   string `json:"token_type"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Error       string `json:"error"`
}

// life is how long the token may be used.
func (a answer) life() time.Duration {
	if a.ExpiresIn <= 0 {
		return defaultLife
	}
	return time.Duration(min(a.ExpiresIn, int64(longestLife/time.Second))) * time.Second
}

// denials are the error codes that speak of the client, not of the request.
var denials = []string{"invalid_client", "unauthorized_client", "access_denied"}

// readAnswer judges the answer by status, type, size and content. No text of
// the endpoint gets into an error: it might repeat the secret.
func readAnswer(r *http.Response, body []byte) (answer, error) {
	var a answer
	readable := len(body) <= maxAnswer && isJSON(r.Header) && json.Unmarshal(body, &a) == nil
	switch {
	case r.StatusCode == http.StatusTooManyRequests:
		return a, outage{&events.Error{Code: events.Throttled, RetryAfter: retryAfter(r.Header),
			Message: "the token endpoint wants fewer requests"}}
	case r.StatusCode >= 500:
		return a, outage{&events.Error{Code: events.Unavailable, RetryAfter: retryAfter(r.Header),
			Message: fmt.Sprintf("the token endpoint answers %d", r.StatusCode)}}
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return a, events.Errorf(events.Invalid, "the token endpoint redirects; the secret is not sent elsewhere: correct the token URL")
	case len(body) > maxAnswer:
		return a, events.Errorf(events.TooLarge, "the token endpoint's answer exceeds %d bytes", maxAnswer)
	case !readable:
		return a, events.Errorf(events.Invalid, "status %d with a body that is no token endpoint's JSON; check the token URL", r.StatusCode)
	case r.StatusCode != http.StatusOK && slices.Contains(denials, a.Error):
		return a, badCredentials{events.Errorf(events.Unauthenticated, "the token endpoint refuses client id and secret")}
	case r.StatusCode != http.StatusOK:
		return a, events.Errorf(events.Invalid, "the token endpoint answers %d", r.StatusCode)
	case !bearer(a):
		return a, events.Errorf(events.Invalid, "the token endpoint's answer holds no bearer token; check the token URL")
	}
	return a, nil
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == events.MediaJSON
}

// bearer reports whether the answer holds a token that can go into a header.
func bearer(a answer) bool {
	if !strings.EqualFold(a.TokenType, "bearer") || a.AccessToken == "" || len(a.AccessToken) > maxToken {
		return false
	}
	for i := range len(a.AccessToken) {
		if c := a.AccessToken[i]; c <= 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
