package subscriber

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
)

// connection returns options for a connection that never gives up and asks for a token whenever
// it connects. What the caller wants otherwise comes before what must hold.
func (p *Partner) connection(local bool) []nats.Option {
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
		nats.TokenHandler(p.token),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(p.delay),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.problem(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { p.problem(err); p.cfg.Outage(err) }),
		nats.ClosedHandler(func(*nats.Conn) { p.end(ErrClosed) }),
	)
}

// token is called while the connection is locked. So it is fetched before,
// where that is possible: in delay and renew.
func (p *Partner) token() string {
	token, err := p.tokens.get(p.life)
	if err != nil {
		p.failed(err)
		return ""
	}
	return token
}

// delay is called before each but the first attempt to connect again. It
// returns when there is a token to try with.
func (p *Partner) delay(attempt int) time.Duration {
	for wait := newBackoff(); p.life.Err() == nil; {
		_, err := p.tokens.get(p.life)
		if err == nil {
			break
		}
		p.failed(err)
		p.sleep(wait.NextBackOff())
	}
	longest := min(50*time.Millisecond<<min(attempt-1, 10), 10*time.Second)
	return 20*time.Millisecond + rand.N(longest) //nolint:gosec // time for what listens to notice the loss; no secret
}

func (p *Partner) sleep(d time.Duration) {
	select {
	case <-p.life.Done():
	case <-time.After(d):
	}
}

// failed takes note that no token could be had, and ends everything if the
// credentials are refused.
func (p *Partner) failed(err error) {
	if p.life.Err() != nil {
		return
	}
	if !isBadCredentials(err) {
		p.cfg.Outage(err)
		return
	}
	p.end(accessEnded(events.Unauthenticated, err, "partner %s is not known by this secret any more", p.id))
}

// problem is told what the server complains of.
func (p *Partner) problem(err error) {
	p.judge(p.life, err)
	if errors.Is(err, nats.ErrPermissionViolation) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for watch, consumer := range p.watches {
			if concerns(err, consumer) {
				select {
				case watch <- refusal{err}:
				default: // told already
				}
			}
		}
	}
}

// judge has another token fetched when a server does not take this one.
func (p *Partner) judge(ctx context.Context, err error) {
	for _, is := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, is) {
			p.tokens.doubt(ctx)
		}
	}
}

// concerns reports whether the server refuses a subject of the consumer: one
// of its words is the consumer's name.
func concerns(violation error, consumer string) bool {
	text := violation.Error()
	from := strings.IndexByte(text, '"')
	to := strings.LastIndexByte(text, '"')
	if from < 0 || to <= from {
		return false
	}
	for word := range strings.SplitSeq(text[from+1:to], ".") {
		if word == consumer {
			return true
		}
	}
	return false
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

// login numbers the logins of the connection.
func (p *Partner) login() uint64 { return p.nc.Stats().Reconnects }

// renew connects again, so that the login has the permissions of now; unless
// that has happened since the login given.
func (p *Partner) renew(since uint64) {
	p.renewing.Lock()
	defer p.renewing.Unlock()
	if p.login() != since || !p.nc.IsConnected() {
		return
	}
	if _, err := p.tokens.get(p.life); err != nil {
		p.failed(err)
		return
	}
	_ = p.nc.ForceReconnect() // fails only when closed, which ends everything anyway
}

// probe asks for a consumer over a connection of its own: what the partner may
// do is settled when it logs in, and to log in again would disturb the other
// studies. The error is a refusal, or says that nothing was found out.
func (p *Partner) probe(ctx context.Context, name string) error {
	refusals := make(chan refusal, 1)
	nc, js, err := p.open(ctx,
		nats.NoReconnect(),
		nats.ClosedHandler(nil),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				select {
				case refusals <- refusal{err}:
				default: // told already
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

// unreachableServer tells a server that is away from one that is the wrong one.
func unreachableServer(err error) error {
	switch {
	case untrusted(err):
		return &events.Error{Code: events.Forbidden, Message: "the certificate of the NATS server is not trusted", Err: err}
	case errors.Is(err, nats.ErrSecureConnWanted):
		return &events.Error{Code: events.Forbidden, Message: "the NATS server offers no TLS; the token is not sent in clear", Err: err}
	case strings.Contains(err.Error(), "expected 'PONG', got 'PING'"): // of 2 s after the login, to which nobody had an answer
		err = fmt.Errorf("nobody answers logins there at present: %w", err)
	}
	return outage{fmt.Errorf("connect to the NATS server: %w", err)}
}

func untrusted(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}
