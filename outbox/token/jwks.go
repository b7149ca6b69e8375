package token

import (
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// JWKS returns a handler for GET on JWKSPath. It answers with the public keys from
// keys (RFC 7517). A key that no longer signs is left out when the last access token
// that it may have signed has expired; a revoked one at once. The present time is that of clock.
func JWKS(keys func() []access.Key, clock func() time.Time) http.Handler {
	return rest.Methods(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
		now := clock()
		for _, k := range keys() {
			if !k.Revoked() && (k.Until.IsZero() || now.Before(k.Until.Add(access.Lifetime))) {
				set.Keys = append(set.Keys, k.JWK.Public())
			}
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		writeJSON(w, http.StatusOK, set)
	}), http.MethodGet)
}
