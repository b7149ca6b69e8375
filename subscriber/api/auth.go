package api

import (
	"net/http"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// authorize returns the partner that the access token names. Each x-partnerid,
// in the header or in the query, must name the same partner.
func (a *API) authorize(r *http.Request, pairs []pair) (access.Partner, error) {
	partner, err := a.bearer(r)
	if err != nil {
		return access.Partner{}, err
	}
	ids := partnerIDs(r, pairs)
	if len(ids) == 0 {
		return access.Partner{}, events.Errorf(events.Unauthenticated, "Api Key was not provided.")
	}
	for _, id := range ids {
		if id != partner.ID {
			return access.Partner{}, events.Errorf(events.Unauthenticated, "Incorrect Partnerid name.")
		}
	}
	return partner, nil
}

// bearer returns the partner that the request's access token names. It refuses a
// token whose client secret is no longer in force. The error's code is Outdated
// if there is an access event that only a newer version knows.
func (a *API) bearer(r *http.Request) (access.Partner, error) {
	refused := func(message string) (access.Partner, error) {
		return access.Partner{}, events.Errorf(events.Unauthenticated, "%s", message)
	}
	switch headers := r.Header.Values("Authorization"); {
	case len(headers) == 0:
		return refused("An access token is needed: Authorization: Bearer {access_token}.")
	case len(headers) > 1:
		return refused("There is more than one Authorization header.")
	}
	scheme, accessToken, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return refused("The Authorization header must be: Bearer {access_token}.")
	}
	d := a.reader.Directory()
	if err := d.Current(); err != nil {
		return access.Partner{}, err
	}
	now := a.cfg.Clock()
	claims, err := a.tokens.Verify(d, strings.Trim(accessToken, " "), now)
	if err != nil {
		return access.Partner{}, err
	}
	partner, ok := d.Partner(claims.Partner)
	if !ok || !partner.Honours(claims, now) {
		return refused("The access token is not valid.")
	}
	return partner, nil
}

// partnerIDs returns each x-partnerid in the header and in the query that is not
// empty.
func partnerIDs(r *http.Request, pairs []pair) []string {
	var ids []string
	for _, id := range r.Header.Values(paramPartner) {
		if id != "" {
			ids = append(ids, id)
		}
	}
	for _, p := range pairs {
		if p.name == paramPartner && (p.value != "" || p.err != nil) {
			ids = append(ids, p.value)
		}
	}
	return ids
}
