package api

import (
	"net/http"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// authenticate sets the partner that the request's access token names. It refuses
// an access token that was issued for a client secret that is no longer in force. The
// error's code is Outdated if there is an access event that only a newer version knows.
func (a *API) authenticate(w http.ResponseWriter, r *request) error {
	accessToken, err := bearer(r.Header["Authorization"])
	if err != nil {
		return err
	}
	d := a.reader.Directory()
	if err := d.Current(); err != nil {
		return err
	}
	now := a.cfg.Clock()
	claims, err := a.tokens.Verify(d, accessToken, now)
	if err == nil {
		var ok bool
		if r.partner, ok = d.Partner(claims.Partner); ok && r.partner.Honours(claims, now) {
			return nil
		}
		err = events.Errorf(events.Unauthenticated, "The access token is not valid.")
	}
	w.Header().Set("WWW-Authenticate", rest.Challenge+`, error="invalid_token"`)
	return err
}

// bearer returns the access token in the headers Authorization.
func bearer(headers []string) (string, error) {
	switch len(headers) {
	case 0:
		return "", events.Errorf(events.Unauthenticated, "An access token is needed: Authorization: Bearer {access_token}.")
	case 1:
	default:
		return "", events.Errorf(events.Unauthenticated, "There is more than one Authorization header.")
	}
	scheme, accessToken, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", events.Errorf(events.Unauthenticated, "The Authorization header must be: Bearer {access_token}.")
	}
	return strings.Trim(accessToken, " "), nil
}

// checkPartnerID refuses a request without x-partnerid, in the header or among
// the parameters, and one that names another partner than its access token. Empty ones
// do not count.
func checkPartnerID(r *request) error {
	found := false
	for _, id := range r.Header[headerPartner] {
		if found = found || id != ""; id != "" && id != r.partner.ID {
			return wrongPartnerID()
		}
	}
	for _, p := range r.pairs {
		// A value that cannot be decoded counts too, so that it is refused.
		if p.name != paramPartner || p.value == "" && p.err == nil {
			continue
		}
		if found = true; p.value != r.partner.ID {
			return wrongPartnerID()
		}
	}
	if !found {
		return events.Errorf(events.Unauthenticated, "Api Key was not provided.")
	}
	return nil
}

func wrongPartnerID() error {
	return events.Errorf(events.Unauthenticated, "Incorrect Partnerid name.")
}
