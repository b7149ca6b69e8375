package subscriber

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// connectOptions returns options for a connection that reconnects without limit and
// sends a current access token whenever it connects. The caller's options come
// before those that must hold.
func (p *Partner) connectOptions(local bool) []nats.Option {
	all := []nats.Option{
		nats.Name("signoff subscriber " + p.id),
		nats.Timeout(p.cfg.Timeout),
		nats.PingInterval(20 * time.Second),
	}
	all = append(all, p.cfg.Options...)
	if p.cfg.TLS != nil {
		all = append(all, nats.Secure(p.cfg.TLS.Clone()))
	} else if !local && !p.cfg.Insecure {
		all = append(all, nats.Secure())
	}
	return append(all,
		nats.TokenHandler(p.accessToken),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(p.reconnectDelay),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.serverError(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { p.serverError(err); p.cfg.Outage(err) }),
		nats.ClosedHandler(func(*nats.Conn) { p.end(ErrClosed) }),
	)
}

// accessToken returns the access token for a login, or nothing if there is none. The
// NATS client calls it while it has locked the connection. So that it need not
// request the token, reconnectDelay and renewLogin have done so before.
func (p *Partner) accessToken() string {
	accessToken, err := p.tokens.get(p.life)
	if err != nil {
		p.tokenFailed(err)
		return ""
	}
	return accessToken
}

// reconnectDelay returns how long to wait before the next attempt to connect. The NATS
// client calls it before each but the first attempt. It returns only when there is an
// access token to connect with, or the Partner has ended.
func (p *Partner) reconnectDelay(attempt int) time.Duration {
	_ = retry.Loop{Longest: longestWait, Failed: p.tokenFailed}.Run(p.life, func(ctx context.Context, _ func()) error {
		_, err := p.tokens.get(ctx)
		return err
	})
	if attempt <= 1 { // the first call since the connection was lost
		p.reconnects.Reset()
	}
	return p.reconnects.NextBackOff() // never zero, so that status listeners notice the loss
}

// tokenFailed reports that there is no access token, and ends the connection if the
// credentials were refused.
func (p *Partner) tokenFailed(err error) {
	if p.life.Err() != nil {
		return
	}
	if !isBadCredentials(err) {
		p.cfg.Outage(err)
		return
	}
	p.end(accessEnded(events.Unauthenticated, err, "the client secret of partner %s is no longer valid; ask the publisher for the current one", p.id))
}

// serverError handles an error that the server has sent. A permission violation is
// passed to the calls that use the consumer it is about.
func (p *Partner) serverError(err error) {
	p.checkToken(p.life, err)
	if errors.Is(err, nats.ErrPermissionViolation) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for watch, consumer := range p.watches {
			if concerns(err, consumer) {
				select {
				case watch <- refusal{err}:
				default: // one is enough
				}
			}
		}
	}
}

// checkToken has the access token replaced if err means that a server has rejected it.
func (p *Partner) checkToken(ctx context.Context, err error) {
	for _, is := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, is) {
			p.tokens.reject(ctx)
		}
	}
}

// concerns reports whether the violation is about a subject of the consumer: one
// token of the subject is the consumer's name.
func concerns(violation error, consumer string) bool {
	text := violation.Error()
	from := strings.IndexByte(text, '"')
	to := strings.LastIndexByte(text, '"')
	return from >= 0 && to > from && slices.Contains(strings.Split(text[from+1:to], "."), consumer)
}

// watch returns a channel on which refusals of the consumer arrive.
func (p *Partner) watch(consumer string) (refusals chan refusal, stop func()) {
	refusals = make(chan refusal, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[refusals] = consumer
	return refusals, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, refusals)
	}
}

// logins returns how often the connection has logged in again.
func (p *Partner) logins() uint64 { return p.nc.Stats().Reconnects }

// renewLogin connects again, so that the login has the present permissions. It does
// nothing if the connection is lost, or if logins no longer returns the number before.
func (p *Partner) renewLogin(before uint64) {
	p.renewing.Lock()
	defer p.renewing.Unlock()
	if p.logins() != before || !p.nc.IsConnected() {
		return
	}
	if _, err := p.tokens.get(p.life); err != nil {
		p.tokenFailed(err)
		return
	}
	_ = p.nc.ForceReconnect() // fails only when closed, which ends everything anyway
}

// probe requests a consumer over a connection of its own: permissions are
// determined at the login, and another login of the partner's connection would
// interrupt the other studies. It returns nil if the consumer exists and may be used,
// a refusal if not, and another error if no login or no answer was obtained.
func (p *Partner) probe(ctx context.Context, name string) error {
	refusals := make(chan refusal, 1)
	nc, js, err := p.open(ctx,
		nats.NoReconnect(),
		nats.ClosedHandler(nil),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				select {
				case refusals <- refusal{err}:
				default: // one is enough
				}
			}
		}))
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = consumer{p: p, js: js, name: name, refusals: refusals}.open(ctx)
	return err
}

// connectError returns an outage for a server that cannot be reached, and another
// error for one that must not be used.
func connectError(err error) error {
	switch {
	case untrusted(err):
		return &events.Error{Code: events.Forbidden, Message: "the certificate of the NATS server is not trusted; set PartnerConfig.TLS to the publisher's certificates", Err: err}
	case errors.Is(err, nats.ErrSecureConnWanted):
		return &events.Error{Code: events.Forbidden, Message: "the NATS server offers no TLS, and the access token is not sent in clear; check the NATS URL", Err: err}
	case strings.Contains(err.Error(), "expected 'PONG', got 'PING'"): // the server's text when a login is not answered within 2 s
		err = fmt.Errorf("nobody answers logins there at present: %w", err)
	}
	return outage{fmt.Errorf("connect to the NATS server: %w", err)}
}

func untrusted(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}
