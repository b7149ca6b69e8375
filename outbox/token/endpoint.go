package token

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// Path is where partners know the token endpoint to be, and JWKSPath the keys.
const (
	Path     = "/msk-apim/external/msk-oidc/oauth2/token"
	JWKSPath = "/msk-apim/external/msk-oidc/oauth2/jwks"
)

// Clients knows the partners by their client credentials.
type Clients interface {
	// AuthenticateClient returns the enabled partner whose secret this is.
	// Address is where the request came from. The error's code is
	// events.Unauthenticated, events.Throttled after too many failures, or
	// another for a fault of ours.
	AuthenticateClient(ctx context.Context, id, secret, address string) (access.Partner, error)
}

// Signer signs tokens; it may go over to another key at any time.
type Signer interface {
	// Issue makes a token for a partner that showed its secret. Id is unique.
	Issue(id, issuer, partner, secret string, now time.Time) (string, error)
}

// Config is what an installation may want otherwise.
type Config struct {
	Issuer string // iss of the tokens: the public URL of the endpoint. Defaults to Path

	// Ready, if set, returns why no token can be issued now; nil: one can. Its
	// code is events.Unavailable.
	Ready func() error

	Clock func() time.Time // Defaults to time.Now
	NewID func() string    // jti of a token. Defaults to UUIDv7
}

// Endpoint issues tokens. It is an http.Handler for POST on Path.
type Endpoint struct {
	clients Clients
	signer  Signer
	cfg     Config
	failing *throttle
	metrics metrics
}

// New makes the endpoint.
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
	return &Endpoint{clients: clients, signer: signer, cfg: cfg, failing: newThrottle(), metrics: newMetrics()}
}

// grant is a successful answer (RFC 6749, section 5.1).
type grant struct {
	TokenType   string `json:"token_type"`
	AccessToken string `json:"access_token"`
	Scope       string `json:"scope"`
	ExpiresIn   int64  `json:"expires_in"`   // seconds
	ConsentedOn int64  `json:"consented_on"` // Unix seconds of the issue
}

// ServeHTTP answers a token request. Refusals have the form of RFC 6749,
// section 5.2, whatever is wrong.
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
		return grant{}, fault(err)
	}
	return grant{
		TokenType: "Bearer", AccessToken: signed, Scope: access.Scope,
		ExpiresIn: int64(access.Lifetime / time.Second), ConsentedOn: now.Unix(),
	}, nil
}

// authenticate asks Clients, unless the address has failed too often.
func (e *Endpoint) authenticate(ctx context.Context, q request, address string) (access.Partner, error) {
	attempt, err := e.failing.admit(q.clientID, address, e.cfg.Clock())
	if err != nil {
		return access.Partner{}, err
	}
	partner, err := e.clients.AuthenticateClient(ctx, q.clientID, q.secret, address)
	switch code := events.CodeOf(err); {
	case err == nil:
		attempt.succeeded()
	case code != events.Unauthenticated && code != events.Throttled:
		attempt.spare()
	}
	return partner, err
}

// address is the host the request came from. Headers that claim another are
// not believed: who fails could name a new one each time.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // structs of text and numbers always have a JSON form
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // a caller who went away is nobody's fault
}
