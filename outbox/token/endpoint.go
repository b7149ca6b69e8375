package token

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// Path is the path of the token endpoint, and JWKSPath that of the key set.
const (
	Path     = "/msk-apim/external/msk-oidc/oauth2/token"
	JWKSPath = "/msk-apim/external/msk-oidc/oauth2/jwks"
)

// Clients authenticates partners by their client credentials.
type Clients interface {
	// AuthenticateClient returns the enabled partner with the id and the secret.
	// Address is the host that sent the request. The error's code is
	// events.Unauthenticated, events.Throttled in its place after too many failures,
	// or another if the failure is internal. The right secret is always accepted.
	AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error)
}

// Signer signs access tokens. It may change its key at any time.
type Signer interface {
	// Issue returns an access token for a partner that has authenticated with the
	// secret. Id must be unique.
	Issue(id, issuer, partner, secret string, now time.Time) (string, error)
}

// Config has the endpoint's optional settings.
type Config struct {
	Issuer string // iss of access tokens: the public URL of the endpoint. Defaults to Path

	// Ready returns nil if access tokens can be issued, else the reason, an
	// Unavailable events.Error. Defaults to always nil.
	Ready func() error

	Clock func() time.Time // Defaults to time.Now
	NewID func() string    // returns the jti of an access token. Defaults to UUIDv7
}

// Endpoint issues access tokens. It is an http.Handler for POST on Path.
type Endpoint struct {
	clients Clients
	signer  Signer
	cfg     Config
	wrong   *access.SignIns // failed requests by place, all clients together
	metrics metrics
}

// New returns the endpoint.
func New(clients Clients, signer Signer, cfg Config) *Endpoint {
	cfg.Issuer = cmp.Or(cfg.Issuer, Path)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.NewID == nil {
		cfg.NewID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	return &Endpoint{clients: clients, signer: signer, cfg: cfg, wrong: access.NewSignIns(access.PlaceSignIns), metrics: newMetrics()}
}

// grant is the body of a successful answer (RFC 6749, section 5.1).
type grant struct {
	TokenType   string `json:"token_type"`
	AccessToken string `json:"access_token"`
	Scope       string `json:"scope"`
	ExpiresIn   int64  `json:"expires_in"`   // seconds
	ConsentedOn int64  `json:"consented_on"` // issued at, in Unix seconds
}

// ServeHTTP answers a token request. Every refusal has the form of RFC 6749,
// section 5.2.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g, refused := e.issue(w, r)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	if refused != nil {
		e.metrics.requests.WithLabelValues(refused.outcome()).Inc()
		rest.SetFailure(r.Context(), refused.err)
		refused.write(w)
		return
	}
	e.metrics.requests.WithLabelValues(issued).Inc()
	writeJSON(w, http.StatusOK, g)
}

// issue returns an access token or a refusal. It authenticates the client before it
// checks the grant type and the scope.
func (e *Endpoint) issue(w http.ResponseWriter, r *http.Request) (grant, *refusal) {
	if err := e.cfg.Ready(); err != nil {
		return grant{}, refuseClient(err)
	}
	q, refused := readRequest(w, r)
	if refused != nil {
		return grant{}, refused
	}
	partner, err := e.authenticate(r.Context(), q, address(r))
	if err != nil {
		return grant{}, refuseClient(err)
	}
	rest.SetPartner(r.Context(), partner.ID)
	if refused := q.check(); refused != nil {
		return grant{}, refused
	}
	now := e.cfg.Clock()
	signed, err := e.signer.Issue(e.cfg.NewID(), e.cfg.Issuer, partner.ID, q.secret, now)
	if err != nil {
		return grant{}, internalError(err)
	}
	return grant{
		TokenType: "Bearer", AccessToken: signed, Scope: access.Scope,
		ExpiresIn: int64(access.Lifetime / time.Second), ConsentedOn: now.Unix(),
	}, nil
}

// authenticate asks Clients whether the credentials are right. It counts a failure at
// the place of the address, for all clients together. After too many failures there,
// a further failure is Throttled. The right secret is always accepted, because
// Clients is asked first.
func (e *Endpoint) authenticate(ctx context.Context, q request, address string) (access.Partner, error) {
	partner, err := e.clients.AuthenticateClient(ctx, q.clientID, q.secret, address)
	if code := events.CodeOf(err); code != events.Unauthenticated && code != events.Throttled {
		return partner, err // success, or an error that says nothing about the secret
	}
	if wait, _ := e.wrong.Fail(access.Attempt{Place: access.Place(address)}, e.cfg.Clock()); wait > 0 {
		var refusal *events.Error
		if errors.As(err, &refusal) {
			wait = max(wait, refusal.RetryAfter)
		}
		return access.Partner{}, &events.Error{
			Code: events.Throttled, Message: "too many failed sign-ins from this address; try again later", RetryAfter: wait,
		}
	}
	return access.Partner{}, err
}

// address returns the host of the connection. It ignores headers such as
// X-Forwarded-For, in which a caller could put another address each time.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// writeJSON writes the whole answer, apart from headers set before.
func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // the structs consist of text and numbers
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // fails only if the caller has gone
}
