package callout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const (
	loginSubject    = "$SYS.REQ.USER.AUTH"
	loginQueue      = "signoff-doors" // each login is answered by one callout of an installation
	requestAudience = "nats-authorization-request"
	serverTimeout   = 5 * time.Second
)

// admission decides which of its studies a login of a partner opens.
type admission interface {
	// hold keeps what admittedKeys returns valid until release is called. After an error
	// it is not known, and the login stays unanswered.
	hold(context.Context) (release func(), err error)
	// admittedKeys returns the keys of the studies that the partner's logins may open;
	// not ok: they open nothing yet.
	admittedKeys(tenancy.Partner) (keys []string, ok bool)
}

// answerer answers logins. It is what a Callout and a Standalone have in common.
type answerer struct {
	nc        *nats.Conn
	directory DirectorySource
	admission admission
	answers   *operator.Answers
	cfg       Config

	verifier access.Verifier
	failures *access.SignIns // wrong secrets, by client and place
	quotas   *quotas
	metrics  loginMetrics

	subscription *nats.Subscription // nil while logins are not answered
}

func (a *answerer) init(nc *nats.Conn, directory DirectorySource, admission admission, answers *operator.Answers, cfg Config) {
	a.nc, a.directory, a.admission, a.answers, a.cfg = nc, directory, admission, answers, cfg.withDefaults()
	a.failures = access.NewSignIns(access.SlowedSignIns)
	a.quotas = newQuotas(a.cfg.Rate, a.cfg.Burst)
	a.metrics = newLoginMetrics(a.quotas)
}

// Start begins to answer logins, unless they are answered already. It is not safe for
// concurrent use with itself and Stop.
func (a *answerer) Start() error {
	if a.subscription != nil {
		return nil
	}
	s, err := a.nc.QueueSubscribe(loginSubject, loginQueue, a.answer)
	if err != nil {
		return fmt.Errorf("answer logins: %w", err)
	}
	if err := a.nc.FlushTimeout(serverTimeout); err != nil { // the server asks from now on
		_ = s.Unsubscribe() // the connection may be closed already
		return fmt.Errorf("answer logins: %w", err)
	}
	a.subscription = s
	return nil
}

// Stop ends answering logins.
func (a *answerer) Stop() {
	if a.subscription != nil {
		_ = a.subscription.Unsubscribe() // the connection may be closed already
		a.subscription = nil
	}
}

// answer answers one login. Whatever goes wrong, the server lets nobody in without an
// answer that allows it. A login that this process cannot decide stays unanswered, because
// another callout may, and clients take two refusals in a row for the end.
func (a *answerer) answer(m *nats.Msg) {
	request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
	if err != nil || request.Audience != requestAudience || m.Reply == "" {
		a.metrics.logins.WithLabelValues(failed).Inc()
		return // no server asks like that
	}
	release, err := a.admission.hold(context.Background())
	if err != nil {
		a.metrics.logins.WithLabelValues(failed).Inc()
		return
	}
	defer release()
	user, err := a.check(&request.AuthorizationRequest)
	if errors.Is(err, events.Outdated) {
		a.metrics.logins.WithLabelValues(failed).Inc()
		return // a callout of a newer version may answer the next time
	}
	outcome := outcomeOf(err)
	delay := delayOf(err)
	text, err := a.sign(request, user, err)
	switch {
	case err == nil && delay > 0: // others do not wait meanwhile, and the server may stop: then nobody gets in either
		time.AfterFunc(delay, func() { _ = m.Respond([]byte(text)) })
	case err == nil:
		err = m.Respond([]byte(text))
	}
	if err != nil {
		outcome = failed
		a.cfg.Log.Error("cannot answer a login", "error", err)
	}
	a.metrics.logins.WithLabelValues(outcome).Inc()
}

// slowRefusal is how much later a wrong credential is refused after too many of them. A
// client has the answer well before it, or the server, gives up waiting.
const slowRefusal = 500 * time.Millisecond

// delayOf returns how long the refusal of a login waits: that of a wrong credential that
// came before its time, and no other.
func delayOf(err error) time.Duration {
	var e *events.Error
	if !errors.As(err, &e) {
		return 0
	}
	return min(e.RetryAfter, slowRefusal)
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

// sign returns the answer: what the connection may do, or that it is refused. The reason
// for a refusal is not in it.
func (a *answerer) sign(request *jwt.AuthorizationRequestClaims, user *login, refusal error) (string, error) {
	if refusal != nil {
		return a.answers.Refuse(request, "refused")
	}
	return a.answers.Admit(request, user.partner, user.claims)
}

// login is what a connection of a partner may do.
type login struct {
	partner string
	claims  *jwt.UserClaims
}

// check checks who asks and returns what the connection may do.
func (a *answerer) check(request *jwt.AuthorizationRequest) (*login, error) {
	directory, now := a.directory.Directory(), a.cfg.Clock()
	if err := directory.Current(); err != nil {
		return nil, err
	}
	c := credentialOf(request.ConnectOptions)
	partner, known := directory.Partner(c.client)
	until, secret, err := a.checkCredential(directory, partner, c, now)
	if err != nil {
		return nil, a.countFailure(Failure{Client: c.client, Known: known, Token: c.accessToken != "", Host: request.ClientInformation.Host}, err, now)
	}
	if a.quotas.suspended(partner.ID, now) {
		return nil, events.Errorf(events.Throttled, "partner %s is suspended for exceeding its quota", partner.ID)
	}
	a.quotas.chargeLogin(partner.ID, now)
	p := tenancy.PartnerOf(partner)
	keys, ok := a.admission.admittedKeys(p)
	if !ok {
		return nil, events.Errorf(events.Unavailable, "the account of partner %s is not ready yet", partner.ID)
	}
	return &login{p.ID, a.user(request.UserNkey, p, keys, secret, until)}, nil
}

// Failure is a login with a wrong secret or a forged access token.
type Failure struct {
	Client string // the id that was tried
	Known  bool   // there is a partner with this id
	Token  bool   // it was tried with an access token
	Host   string // where it came from
}

// countFailure counts what may have been a guess, and returns err, or a Throttled Error
// where such logins of the client came too often from there. An access token that has
// expired is no guess: clients come back with it until they have another. Nothing is
// counted before it was checked: the right secret opens at any time.
func (a *answerer) countFailure(f Failure, err error, now time.Time) error {
	if !errors.Is(err, events.Unauthenticated) {
		return err
	}
	if a.cfg.Failed != nil {
		a.cfg.Failed(f)
	}
	from := access.Attempt{Place: access.Place(f.Host)}
	if f.Known { // all clients that do not exist are one, so that made-up names fill no table
		from.Client = f.Client
	}
	wait, slows := a.failures.Fail(from, now)
	if slows {
		a.cfg.Log.Warn("logins to NATS fail in a row", "partner", from.Client, "address", from.Place)
	}
	if wait > 0 {
		return &events.Error{Code: events.Throttled, Message: "too many failed logins", RetryAfter: wait}
	}
	return err
}

// user returns what a connection of the partner may do: the permissions name what the
// account lets through.
func (a *answerer) user(key string, p tenancy.Partner, admitted []string, secret string, until time.Time) *jwt.UserClaims {
	keys := p.Intersect(admitted)
	account := tenancy.AccountOf(p.ID, keys, a.cfg.Limits)
	permissions := account.Permissions()
	u := jwt.NewUserClaims(key)
	u.Name = tenancy.ConnectionName{Partner: p.ID, Secret: secret, Grants: tenancy.GrantsID(keys)}.String()
	u.Expires = until.Unix()
	u.Pub.Allow.Add(permissions.Publish...)
	u.Sub.Allow.Add(permissions.Subscribe...)
	u.Limits.Subs = int64(account.Limits.Subscriptions)
	u.Limits.Payload = int64(account.Limits.Payload)
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeInProcess)
	return u
}

// checkCredential returns until when the credential is valid, and the SecretID of the client
// secret behind it.
func (a *answerer) checkCredential(directory access.Directory, p access.Partner, c credential, now time.Time) (until time.Time, secret string, err error) {
	until = now.Add(access.Lifetime)
	if c.accessToken != "" {
		claims, err := a.verifier.Verify(directory, c.accessToken, now)
		if err != nil {
			return until, "", err
		}
		if claims.Partner != c.client || !p.Honours(claims, now) {
			return until, "", events.Errorf(events.Forbidden, "the access token is of a secret or a partner not in force")
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
	if until.Unix() <= now.Unix() { // the server counts seconds, and zero means no end
		return until, "", events.Errorf(events.Expired, "the credential has expired")
	}
	return until, secret, nil
}
