package doors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

const requestAudience = "nats-authorization-request"

// answer answers one login. Whatever goes wrong, the broker lets nobody in
// without an answer that says so.
func (d *Doors) answer(m *nats.Msg) {
	request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
	if err != nil || request.Audience != requestAudience || m.Reply == "" {
		d.metrics.logins.WithLabelValues(failed).Inc()
		return // the broker asks otherwise
	}
	if d.beside.is {
		if err := d.fresh(context.Background()); err != nil {
			d.metrics.logins.WithLabelValues(failed).Inc()
			return // nor is anyone let in without an answer
		}
	}
	d.gate.RLock()
	defer d.gate.RUnlock()
	user, err := d.login(&request.AuthorizationRequest)
	if errors.Is(err, events.Outdated) {
		d.metrics.logins.WithLabelValues(failed).Inc()
		return // doors of a newer version may answer the next time
	}
	outcome := outcomeOf(err)
	text, err := d.sign(request, user, err)
	if err == nil {
		err = m.Respond([]byte(text))
	}
	if err != nil {
		outcome = failed
		d.cfg.Log.Error("cannot answer a login", "error", err)
	}
	d.metrics.logins.WithLabelValues(outcome).Inc()
}

func outcomeOf(err error) string {
	switch events.CodeOf(err) {
	case "":
		return opened
	case events.Throttled:
		return throttled
	case events.Expired:
		return expired
	case events.Internal, events.Unavailable, events.Outdated:
		return failed
	default:
		return refused
	}
}

// sign makes the answer: who may come in and as what, or that nobody may. Why
// not is for nobody but us.
func (d *Doors) sign(request *jwt.AuthorizationRequestClaims, user *jwt.UserClaims, refusal error) (string, error) {
	response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	response.Audience = request.Server.ID
	if refusal != nil {
		response.Error = "refused"
		return response.Encode(d.issuer)
	}
	var err error
	if response.Jwt, err = user.Encode(d.issuer); err != nil {
		return "", fmt.Errorf("sign who may come in: %w", err)
	}
	return response.Encode(d.issuer)
}

// login finds out who is asking and returns what the connection may do.
func (d *Doors) login(request *jwt.AuthorizationRequest) (*jwt.UserClaims, error) {
	directory, now := d.log.Directory(), d.cfg.Clock()
	if err := directory.Current(); err != nil {
		return nil, err
	}
	c := credentialOf(request.ConnectOptions)
	partner, known := directory.Partner(c.client)
	from := attemptOf(c.client, request.ClientInformation.Host, known)
	if d.failures.Wait(from, now) > 0 {
		return nil, events.Errorf(events.Throttled, "too many failed logins")
	}
	until, secret, err := d.check(directory, partner, c, now)
	if err != nil {
		d.countFailure(from, err, now)
		return nil, err
	}
	d.failures.Succeed(from)
	if d.allowance.out(partner.ID, now) {
		return nil, events.Errorf(events.Throttled, "partner %s has sent more than it may", partner.ID)
	}
	d.allowance.enter(partner.ID, now)
	g := newGuest(partner)
	tokens, ok := d.admittedTo(g)
	if !ok {
		return nil, events.Errorf(events.Unavailable, "partner %s is not admitted yet", partner.ID)
	}
	return d.user(request.UserNkey, g, tokens, secret, until), nil
}

// countFailure counts what may have been a guess. A token that was good once
// is none: clients come back with it until they have another.
func (d *Doors) countFailure(from access.Attempt, err error, now time.Time) {
	if !errors.Is(err, events.Unauthenticated) || !d.failures.Fail(from, now) {
		return
	}
	d.cfg.Log.Warn("logins to NATS fail in a row and are slowed down", "partner", from.Client, "address", from.Place)
}

// user is what a connection of the guest may do: what its account lets through
// and its permissions name, which is the same twice.
func (d *Doors) user(key string, g guest, admitted []string, secret string, until time.Time) *jwt.UserClaims {
	tokens := g.both(admitted)
	account := events.PartnerAccountOf(g.ID, tokens, d.cfg.Limits)
	u := jwt.NewUserClaims(key)
	u.Name = pass{g.ID, secret, grantsOf(tokens)}.String()
	u.Audience = account.Name
	u.Expires = until.Unix()
	u.Pub.Allow.Add(account.MayPublish()...)
	u.Sub.Allow.Add(account.MaySubscribe()...)
	u.Limits.Subs = int64(account.Limits.Subscriptions)
	u.Limits.Payload = int64(account.Limits.Payload)
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeInProcess)
	return u
}

// check returns until when the credential opens, and the SecretID of the client
// secret behind it.
func (d *Doors) check(directory access.Directory, p access.Partner, c credential, now time.Time) (until time.Time, secret string, err error) {
	until = now.Add(access.Lifetime)
	if c.token != "" {
		claims, err := d.tokens.Verify(directory, c.token, now)
		if err != nil {
			return until, "", err
		}
		if claims.Partner != c.client || !p.Honours(claims, now) {
			return until, "", events.Errorf(events.Forbidden, "the token is of a secret or a partner not in force")
		}
		until, secret = claims.Expires, claims.Secret
	} else {
		if !p.Opens(c.secret, now) {
			return until, "", events.Errorf(events.Unauthenticated, "unknown client or wrong secret")
		}
		secret = access.SecretID(c.secret)
	}
	end, ok := p.InForce(secret, now)
	if !ok {
		return until, "", events.Errorf(events.Forbidden, "the secret is not in force")
	}
	if !end.IsZero() && end.Before(until) {
		until = end
	}
	if until.Unix() <= now.Unix() { // the broker counts seconds, and zero is for ever
		return until, "", events.Errorf(events.Expired, "the credential has expired")
	}
	return until, secret, nil
}
