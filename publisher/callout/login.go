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

// admission decides which of the studies granted to a partner its logins open.
type admission interface {
	// hold is called before admittedKeys, and keeps its result valid until release is
	// called. If it returns an error, what is admitted is not known, and the login must
	// stay unanswered.
	hold(context.Context) (release func(), err error)
	// admittedKeys returns the keys of the studies that the partner's logins may open;
	// ok is false if they may not open anything yet.
	admittedKeys(tenancy.Partner) (keys []string, ok bool)
}

// answerer answers logins for a Callout or a Standalone, which differ in their admission.
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

// init sets all fields.
func (a *answerer) init(nc *nats.Conn, directory DirectorySource, admission admission, answers *operator.Answers, cfg Config) {
	a.nc, a.directory, a.admission, a.answers, a.cfg = nc, directory, admission, answers, cfg.withDefaults()
	a.verifier.Issuer = a.cfg.Issuer
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

// Stop stops answering logins, if they are answered. It does not wait for those that are being
// answered.
func (a *answerer) Stop() {
	if a.subscription != nil {
		_ = a.subscription.Unsubscribe() // the connection may be closed already
		a.subscription = nil
	}
}

// answer answers one login. If it sends no answer, the server lets nobody in. It leaves a
// login unanswered that this process cannot decide, because another callout may answer the
// next attempt, whereas two refusals in a row make clients close for good.
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
	if a.directory.Withheld() != nil {
		a.metrics.logins.WithLabelValues(failed).Inc()
		return
	}
	user, err := a.check(&request.AuthorizationRequest)
	if errors.Is(err, events.Outdated) {
		a.metrics.logins.WithLabelValues(failed).Inc()
		return // a callout of a newer version may answer the next time
	}
	outcome := outcomeOf(err)
	delay := delayOf(err)
	text, err := a.sign(request, user, err)
	switch {
	case err == nil && delay > 0: // without blocking other logins; if the process ends meanwhile, nobody gets in either
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

// slowRefusal is the longest delay of a refusal. It is so short that neither the client nor
// the server gives up waiting.
const slowRefusal = 500 * time.Millisecond

// delayOf returns how long the answer to a login is delayed. Only that to a wrong credential
// after too many of them is: countFailure alone sets RetryAfter.
func delayOf(err error) time.Duration {
	var e *events.Error
	if !errors.As(err, &e) {
		return 0
	}
	return min(e.RetryAfter, slowRefusal)
}

// outcomeOf returns the outcome of a login for the metrics: that of the error of check.
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

// sign returns the signed answer: what the connection may do or, if refusal is not nil, that
// the login is refused. The answer does not contain the reason for a refusal.
func (a *answerer) sign(request *jwt.AuthorizationRequestClaims, user *login, refusal error) (string, error) {
	if refusal != nil {
		return a.answers.Refuse(request, "refused")
	}
	return a.answers.Admit(request, user.partner, user.claims)
}

// login is what the connection that a login opens may do.
type login struct {
	partner string
	claims  *jwt.UserClaims
}

// check checks the credential of a login and returns what the connection may do, or why the
// login is refused. It counts wrong credentials, and charges a login with a right one unless
// the partner is suspended. An Outdated Error is not a refusal: only a newer version of the
// program understands the directory.
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
	return &login{p.ID, a.user(request.UserNkey, p, keys, directory.RevokedKeys(), secret, until)}, nil
}

// Failure is a login with a wrong secret or a forged access token.
type Failure struct {
	Client string // the id that was tried
	Known  bool   // there is a partner with this id
	Token  bool   // it was tried with an access token
	Host   string // where it came from
}

// countFailure counts a login that failed with err, if it may have been a guess: that is an
// Unauthenticated Error. An expired access token is no guess, because clients present it
// again until they have a new one. It returns err or, if such logins of the client came too
// often from the same place, a Throttled Error. It is called only after the credential was
// found wrong: so the right one is never kept waiting.
func (a *answerer) countFailure(f Failure, err error, now time.Time) error {
	if !errors.Is(err, events.Unauthenticated) {
		return err
	}
	if a.cfg.Failed != nil {
		a.cfg.Failed(f)
	}
	from := access.Attempt{Place: access.Place(f.Host)}
	if f.Known { // clients that do not exist share one count, so that made-up names do not fill the table
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

// user returns the claims of a connection of the partner, for the user key of the login: its
// name, its end, and permissions for what an account with the admitted studies lets through.
// Revoked are the ids of the token keys that are revoked.
func (a *answerer) user(key string, p tenancy.Partner, admitted, revoked []string, secret string, until time.Time) *jwt.UserClaims {
	keys := p.Intersect(admitted)
	account := tenancy.AccountOf(p.ID, keys, a.cfg.Limits)
	permissions := account.Permissions()
	u := jwt.NewUserClaims(key)
	u.Name = tenancy.ConnectionName{Partner: p.ID, Secret: secret, Grants: tenancy.GrantsID(keys, revoked)}.String()
	u.Expires = until.Unix()
	u.Pub.Allow.Add(permissions.Publish...)
	u.Sub.Allow.Add(permissions.Subscribe...)
	u.Limits.Subs = int64(account.Limits.Subscriptions)
	u.Limits.Payload = int64(account.Limits.Payload)
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeInProcess)
	return u
}

// checkCredential returns until when a connection with the credential may last, and the
// SecretID of the client secret: the one presented, or the one that the access token was
// issued for. It returns an error if the credential is not valid for the partner.
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
	if until.Unix() <= now.Unix() { // the claims have whole seconds: nothing would be left
		return until, "", events.Errorf(events.Expired, "the credential has expired")
	}
	return until, secret, nil
}
