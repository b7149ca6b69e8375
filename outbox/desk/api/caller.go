package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// caller is who sent a request.
type caller struct {
	role    Role
	name    string   // the id of a source, or the user name of a PI
	studies []string // ids of those that are granted

	credential string // of a PI: accounts.PI.Credential
}

// mayRead returns a NotFound Error unless the caller is granted the study.
func (c caller) mayRead(study string) error {
	if !slices.Contains(c.studies, study) {
		return events.Errorf(events.NotFound, "%s is not granted to %s", study, c.name)
	}
	return nil
}

// challenge sets the headers of an answer 401. A browser asks for a password when it sees
// the challenge Basic and sends that password again by itself, also for pages of others.
// So a request of a page, which has the headers Sec-Fetch, gets no such challenge.
func challenge(h http.Header, r *http.Request) {
	h["Www-Authenticate"] = nil
	if r.Header.Get("Sec-Fetch-Mode") == "" && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Sec-Fetch-Dest") == "" {
		h.Add("WWW-Authenticate", `Basic realm="signoff", charset="UTF-8"`)
	}
	h.Add("WWW-Authenticate", `Bearer realm="signoff"`)
}

// authenticate returns who sent the request.
func (a *API) authenticate(q *request) (caller, error) {
	const wanted = "Authorization: Basic with the user name and the password of a PI, or Bearer {id}.{secret} of a source."
	headers := q.Header.Values("Authorization")
	if len(headers) != 1 {
		return caller{}, events.Errorf(events.Unauthenticated, "One header is needed: %s", wanted)
	}
	scheme, credentials, _ := strings.Cut(headers[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		id, secret, _ := strings.Cut(strings.Trim(credentials, " "), ".")
		source, err := a.outbox.Accounts().AuthenticateSource(q.Context(), id, secret, q.address)
		return caller{role: Source, name: source.ID, studies: source.Studies}, err
	case strings.EqualFold(scheme, "Basic"):
		user, password, ok := q.BasicAuth()
		if !ok {
			return caller{}, events.Errorf(events.Unauthenticated, "The credentials of Basic are not base64 of a user name, a colon and a password.")
		}
		pi, err := a.outbox.Accounts().Authenticate(q.Context(), user, password, q.address)
		if events.CodeOf(err) == events.Forbidden {
			return caller{}, &events.Error{
				Code: events.Forbidden, Err: err,
				Message: "An operator has set this password. It is only for choosing another one: on the page /password of this server, or with signoff pi password " + user + ".",
			}
		}
		return caller{role: PI, name: pi.User, studies: pi.Studies, credential: pi.Credential}, err
	default:
		return caller{}, events.Errorf(events.Unauthenticated, "The scheme is neither Basic nor Bearer: %s", wanted)
	}
}
