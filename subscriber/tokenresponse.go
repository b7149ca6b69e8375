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
	maxResponse     = 64 << 10 // bytes of a response
	maxAccessToken  = 16 << 10 // bytes
	defaultLifetime = 5 * time.Minute
	maxLifetime     = 24 * time.Hour
)

// tokenResponse is the response of a token endpoint (RFC 6749, sections 5.1 and 5.2).
type tokenResponse struct {
	TokenType   string `json:"token_type"`
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Error       string `json:"error"`
}

// lifetime returns how long the access token may be used.
func (t tokenResponse) lifetime() time.Duration {
	if t.ExpiresIn <= 0 {
		return defaultLifetime
	}
	return time.Duration(min(t.ExpiresIn, int64(maxLifetime/time.Second))) * time.Second
}

// clientErrors are the error codes about the client, not about the request.
var clientErrors = []string{"invalid_client", "unauthorized_client", "access_denied"}

// readTokenResponse checks status, type, size and content of a response. No text of
// the endpoint gets into an error: it might repeat the secret.
func readTokenResponse(r *http.Response, body []byte) (tokenResponse, error) {
	var t tokenResponse
	readable := len(body) <= maxResponse && isJSON(r.Header) && json.Unmarshal(body, &t) == nil
	switch {
	case r.StatusCode == http.StatusTooManyRequests:
		return t, outage{&events.Error{Code: events.Throttled, RetryAfter: retryAfter(r.Header),
			Message: "the token endpoint limits requests; trying again later"}}
	case r.StatusCode >= 500:
		return t, outage{&events.Error{Code: events.Unavailable, RetryAfter: retryAfter(r.Header),
			Message: fmt.Sprintf("the token endpoint answers with status %d; trying again later", r.StatusCode)}}
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return t, events.Errorf(events.Invalid, "the token endpoint redirects, and the client secret is not sent elsewhere; correct the token URL")
	case len(body) > maxResponse:
		return t, events.Errorf(events.TooLarge, "the token endpoint's response exceeds %d bytes; check the token URL", maxResponse)
	case !readable:
		return t, events.Errorf(events.Invalid, "status %d, and the body is not the JSON of a token endpoint; check the token URL", r.StatusCode)
	case r.StatusCode != http.StatusOK && slices.Contains(clientErrors, t.Error):
		return t, badCredentials{events.Errorf(events.Unauthenticated, "the token endpoint refuses client id and secret; ask the publisher for the current ones")}
	case r.StatusCode != http.StatusOK:
		return t, events.Errorf(events.Invalid, "the token endpoint answers with status %d; check the token URL", r.StatusCode)
	case !isBearer(t):
		return t, events.Errorf(events.Invalid, "the token endpoint's response contains no bearer token; check the token URL")
	}
	return t, nil
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == events.MediaJSON
}

// isBearer reports whether the response contains a bearer token that is not too long
// and that can be sent in a header.
func isBearer(t tokenResponse) bool {
	if !strings.EqualFold(t.TokenType, "bearer") || t.AccessToken == "" || len(t.AccessToken) > maxAccessToken {
		return false
	}
	for i := range len(t.AccessToken) {
		if c := t.AccessToken[i]; c <= 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
