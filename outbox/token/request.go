package token

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

const (
	maxBody   = 8 << 10 // bytes; a usual form has 200
	mediaForm = "application/x-www-form-urlencoded"
	grantType = "client_credentials"
)

// parameters are the parameters that the endpoint reads. It ignores others (RFC 6749,
// section 3.2).
var parameters = []string{"grant_type", "scope", "client_id", "client_secret"}

// request is a token request that has credentials and a grant type, not yet checked.
type request struct {
	clientID, secret string
	grantType        string
	scopes           []string
}

// readRequest reads a request from the form and the header Authorization.
func readRequest(w http.ResponseWriter, r *http.Request) (request, *refusal) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return request{}, methodNotAllowed()
	}
	form, refused := readForm(w, r)
	if refused != nil {
		return request{}, refused
	}
	q := request{
		clientID: form["client_id"], secret: form["client_secret"],
		grantType: form["grant_type"], scopes: strings.Fields(form["scope"]),
	}
	if headers := r.Header.Values("Authorization"); len(headers) > 0 {
		if refused := q.readBasic(r, len(headers)); refused != nil {
			return request{}, refused
		}
	}
	switch {
	case q.clientID == "" || q.secret == "":
		return request{}, unknownClient("client_id or client_secret is missing; send them in the form or as HTTP Basic", nil)
	case q.grantType == "":
		return request{}, malformed("grant_type is missing", nil)
	}
	return q, nil
}

// readForm reads the known parameters in the body. It refuses them in the URL, because
// the URLs of requests are often logged.
func readForm(w http.ResponseWriter, r *http.Request) (map[string]string, *refusal) {
	for name := range r.URL.Query() {
		if slices.Contains(parameters, name) {
			return nil, malformed(name+" must be in the body of the request, not in its URL", nil)
		}
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != mediaForm {
		return nil, malformed("the body must be of the type "+mediaForm, err)
	}
	body, err := rest.ReadBody(w, r, maxBody)
	if events.CodeOf(err) == events.TooLarge {
		return nil, malformed("the body is too large", err)
	}
	if err != nil {
		return nil, malformed("the body could not be read", err)
	}
	return parseForm(string(body))
}

// parseForm returns the values of the known parameters. Each may have one value;
// occurrences without a value are ignored. Other parameters are ignored too, even if
// their values are malformed (RFC 6749, section 3.2). Its refusals have no cause for
// the log, because a cause would quote the form, which contains the secret.
func parseForm(body string) (map[string]string, *refusal) {
	form := make(map[string]string)
	for pair := range strings.SplitSeq(body, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return nil, malformed("the body is not a URL-encoded form", nil)
		}
		if !slices.Contains(parameters, name) || rawValue == "" {
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		switch {
		case err != nil:
			return nil, malformed("the body is not a URL-encoded form", nil)
		case form[name] != "":
			return nil, malformed(name+" occurs twice", nil)
		case !utf8.ValidString(value):
			return nil, malformed("the form is not in UTF-8", nil)
		}
		form[name] = value
	}
	return form, nil
}

// readBasic reads the id and the secret from HTTP Basic, in which each is form-encoded
// (RFC 6749, section 2.3.1). Headers is the number of Authorization headers. The form
// may have the same client_id, but no secret.
func (q *request) readBasic(r *http.Request, headers int) *refusal {
	if headers > 1 || q.secret != "" {
		return malformed("use one way to authenticate, not several", nil)
	}
	id, secret, ok := r.BasicAuth()
	if !ok {
		return unknownClient("the Authorization header is not HTTP Basic", nil)
	}
	id, err := url.QueryUnescape(id)
	if err != nil || !utf8.ValidString(id) {
		return unknownClient("the client_id in the Authorization header is not form-encoded", nil)
	}
	secret, err = url.QueryUnescape(secret)
	if err != nil || !utf8.ValidString(secret) {
		return unknownClient("the client_secret in the Authorization header is not form-encoded", nil)
	}
	if q.clientID != "" && q.clientID != id {
		return malformed("the client_id in the form differs from the one in the Authorization header", nil)
	}
	q.clientID, q.secret = id, secret
	return nil
}

// check refuses a grant type or a scope that is not offered. The scope may be missing.
func (q request) check() *refusal {
	if q.grantType != grantType {
		return refuse(events.Unsupported, unsupportedGrantType, "the only grant_type is "+grantType)
	}
	for _, scope := range q.scopes {
		if scope != access.Scope {
			return refuse(events.Unsupported, invalidScope, "the only scope is "+access.Scope)
		}
	}
	return nil
}
