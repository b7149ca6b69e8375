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

// tokens holds the partner's access token and fetches the next one when the
// first is about to expire, or was not taken.
type tokens struct {
	credentials Credentials
	client      *http.Client
	clock       func() time.Time
	outage      func(cause error)

	turn    chan struct{} // holds one element while somebody looks or fetches
	value   string
	renew   time.Time // from then on another one is wanted
	expires time.Time
	doubted bool // a server did not take it
}

// margin is how long before its expiry a token is replaced. One that lives only
// briefly is used for half its life.
const margin = time.Minute

// askAgain is how long the token at hand is used without asking for another,
// after an outage of the endpoint.
const askAgain = 10 * time.Second

func newTokens(c Credentials, cfg PartnerConfig) *tokens {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        cfg.TLS.Clone(),
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true, // one request an hour
		MaxResponseHeaderBytes: maxAnswer,
	}
	return &tokens{
		credentials: c,
		clock:       cfg.Clock,
		outage:      cfg.Outage,
		turn:        make(chan struct{}, 1),
		client: &http.Client{
			Transport: transport,
			Timeout:   cfg.Timeout,
			// The request holds the secret: it goes to the address it was meant
			// for and to no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// get returns a token that is valid now. The error is a refused one when the
// endpoint does not accept the credentials, an outage when it cannot be
// reached or does not work, and another when what answers is no token endpoint.
//
// During an outage the token at hand is given until it expires, one in doubt
// too: a server also turns away a good one when nobody answers its question who
// that is, and may find somebody the next time.
func (t *tokens) get(ctx context.Context) (string, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if !t.doubted && t.clock().Before(t.renew) {
		return t.value, nil
	}
	a, err := t.fetch(ctx)
	now := t.clock()
	switch {
	case errors.As(err, new(outage)) && now.Before(t.expires):
		t.outage(fmt.Errorf("get another token: %w", err))
		t.renew = now.Add(askAgain)
	case err != nil:
		return "", fmt.Errorf("get a token: %w", err)
	default:
		t.value = a.AccessToken
		t.renew, t.expires = now.Add(a.life()-min(margin, a.life()/2)), now.Add(a.life())
	}
	t.doubted = false
	return t.value, nil
}

// doubt makes the next get fetch a token, because a server did not take this
// one.
func (t *tokens) doubt(ctx context.Context) {
	select {
	case t.turn <- struct{}{}:
		t.doubted = true
		<-t.turn
	case <-ctx.Done():
	}
}

// fetch asks the endpoint, and once more if the secret was changed while it
// was asked.
func (t *tokens) fetch(ctx context.Context) (answer, error) {
	secret, err := t.secret()
	if err != nil {
		return answer{}, err
	}
	a, err := t.ask(ctx, secret)
	if isBadCredentials(err) {
		if now, again := t.secret(); again == nil && now != secret {
			return t.ask(ctx, now)
		}
	}
	return a, err
}

func (t *tokens) secret() (string, error) {
	secret, err := t.credentials.Secret()
	switch {
	case err != nil:
		return "", outage{err}
	case secret == "" || len(secret) > maxSecret:
		return "", events.Fieldf("client secret", "must be 1 to %d bytes", maxSecret)
	}
	return secret, nil
}

func (t *tokens) ask(ctx context.Context, secret string) (answer, error) {
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"scope":         {"full"},
		"client_id":     {t.credentials.ClientID},
		"client_secret": {secret},
	}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.credentials.TokenURL, strings.NewReader(form))
	if err != nil {
		return answer{}, fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	response, err := t.client.Do(r)
	if err != nil {
		return answer{}, unreachable(err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer{}, outage{fmt.Errorf("read the answer of the token endpoint: %w", err)}
	}
	return readAnswer(response, body)
}

// unreachable tells an endpoint that is away from one whose certificate is
// not trusted.
func unreachable(err error) error {
	if untrusted(err) {
		return &events.Error{Code: events.Forbidden, Message: "the certificate of the token endpoint is not trusted", Err: err}
	}
	return outage{err}
}

// retryAfter reads the header of that name, in seconds; 0 for none.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
