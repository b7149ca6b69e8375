package subscriber

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// tokenSource holds the partner's access token, and requests another one when that
// is about to expire or was rejected by a server.
type tokenSource struct {
	credentials Credentials
	client      *http.Client
	clock       func() time.Time
	outage      func(cause error)

	lock     chan struct{} // a mutex that can be waited for until a context ends
	current  string
	renew    time.Time // from then on another one is requested
	expires  time.Time
	rejected bool // by a server
}

// renewMargin is how long before its expiry an access token is replaced. One with a
// short lifetime is used for half of it.
const renewMargin = time.Minute

// retryAfterOutage is how long the current access token is used before another one
// is requested, after an outage of the endpoint.
const retryAfterOutage = 10 * time.Second

func newTokenSource(c Credentials, cfg PartnerConfig) *tokenSource {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        cfg.TLS.Clone(),
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true, // one request an hour
		MaxResponseHeaderBytes: maxResponse,
	}
	return &tokenSource{
		credentials: c,
		clock:       cfg.Clock,
		outage:      cfg.Outage,
		lock:        make(chan struct{}, 1),
		client: &http.Client{
			Transport: transport,
			Timeout:   cfg.Timeout,
			// The request contains the secret: it is sent to the configured address
			// and to no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// get returns an access token that is valid now. The error is badCredentials when
// the endpoint does not accept the credentials, an outage when it cannot be
// reached or does not work, and another one when the address is not a token
// endpoint's.
//
// During an outage of the endpoint the current access token is returned until it expires,
// even if a server has rejected it: a server also rejects a valid one while its
// callout is not answered, and may accept it the next time.
func (t *tokenSource) get(ctx context.Context) (string, error) {
	select {
	case t.lock <- struct{}{}:
		defer func() { <-t.lock }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if !t.rejected && t.clock().Before(t.renew) {
		return t.current, nil
	}
	a, err := t.fetch(ctx)
	now := t.clock()
	switch {
	case errors.As(err, new(outage)) && now.Before(t.expires) && ctx.Err() == nil: // the end of ctx is no outage
		t.outage(fmt.Errorf("request another access token: %w", err))
		t.renew = now.Add(retryAfterOutage)
	case err != nil:
		return "", fmt.Errorf("request an access token: %w", err)
	default:
		lifetime := a.lifetime()
		t.current = a.AccessToken
		t.renew, t.expires = now.Add(lifetime-min(renewMargin, lifetime/2)), now.Add(lifetime)
	}
	t.rejected = false
	return t.current, nil
}

// reject makes the next get request another access token, because a server has
// rejected this one.
func (t *tokenSource) reject(ctx context.Context) {
	select {
	case t.lock <- struct{}{}:
		t.rejected = true
		<-t.lock
	case <-ctx.Done():
	}
}

// fetch requests an access token. If the endpoint refuses the secret and that was
// rotated in the meantime, it requests once more, with the new one.
func (t *tokenSource) fetch(ctx context.Context) (tokenResponse, error) {
	secret, err := t.secret()
	if err != nil {
		return tokenResponse{}, err
	}
	a, err := t.post(ctx, secret)
	if isBadCredentials(err) {
		if now, secretErr := t.secret(); secretErr == nil && now != secret {
			return t.post(ctx, now)
		}
	}
	return a, err
}

// secret returns the present client secret. An error of reading it is an outage.
func (t *tokenSource) secret() (string, error) {
	secret, err := t.credentials.Secret()
	switch {
	case err != nil:
		return "", outage{err} // such as of a file that is missing while the secret is rotated
	case secret == "" || len(secret) > maxSecret:
		return "", events.Fieldf("client secret", "must be 1 to %d bytes", maxSecret)
	}
	return secret, nil
}

// post sends one request for an access token. Its errors are those of get.
func (t *tokenSource) post(ctx context.Context, secret string) (tokenResponse, error) {
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"scope":         {"full"},
		"client_id":     {t.credentials.ClientID},
		"client_secret": {secret},
	}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.credentials.TokenURL, strings.NewReader(form))
	if err != nil {
		return tokenResponse{}, fmt.Errorf("create the token request: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	response, err := t.client.Do(r)
	if err != nil {
		return tokenResponse{}, endpointError(err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err != nil {
		return tokenResponse{}, outage{fmt.Errorf("read the response of the token endpoint: %w", err)}
	}
	return readTokenResponse(response, body)
}

// endpointError returns an outage, unless the certificate is not trusted.
func endpointError(err error) error {
	if untrusted(err) {
		return &events.Error{Code: events.Forbidden, Message: "the certificate of the token endpoint is not trusted; set PartnerConfig.TLS to the publisher's certificates", Err: err}
	}
	return outage{err}
}

// retryAfter returns the value of the Retry-After header; 0 if there is none in
// seconds.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
