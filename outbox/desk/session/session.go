// Package session keeps the sessions of PIs who are signed in at the desk.
//
// A session begins with a sign-in and belongs to one PI. It ends when the PI signs out,
// after a while without activity, after a fixed time, with a later session too many, when
// the PI's password or standing changes, after too many wrong passwords in it, and when the
// program stops. Each begin and end is a line of the audit trail, the end with its reason.
// An end that cannot be written at once is written later, with the time of the end.
//
// Sessions are in memory only. A browser holds 256 random bits in a cookie; the program
// holds the SHA-256 of them. What a PI may do is read from the accounts at each request.
package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

// Limits of sessions. Idle and Absolute are not to be set higher (EMA, Guideline on
// computerised systems in clinical trials, 2023: users cannot change it).
const (
	Idle     = 15 * time.Minute // without activity
	Absolute = 12 * time.Hour   // from the sign-in

	maxSessions = 10_000
	maxPerUser  = 5
)

// Config has the optional settings of Sessions.
type Config struct {
	Idle     time.Duration    // Defaults to Idle, and is never longer.
	Absolute time.Duration    // Defaults to Absolute, and is never longer.
	Clock    func() time.Time // Defaults to time.Now.
	Every    time.Duration    // between two looks for sessions that are over. Defaults to 1 s.
	Log      *slog.Logger     // Defaults to slog.Default().
}

// Accounts is the part of accounts.Accounts that sessions need.
type Accounts interface {
	Standing(ctx context.Context, user string) (accounts.Standing, error)
	SessionBegan(ctx context.Context, user, credential, address string) error
	SessionEnded(ctx context.Context, user, address, reason string, at time.Time) error
}

// Sessions are the sessions of one process. Its methods may be called concurrently.
type Sessions struct {
	accounts Accounts
	cfg      Config

	mu    sync.Mutex
	open  map[key]*Session
	ended map[key]string // the reason, for the page that the browser asks for next
	order []key          // of ended, the oldest first

	unrecorded []end // that could not be audited yet; Run tries again
}

// end is the end of a session.
type end struct {
	session *Session
	reason  string
	at      time.Time
}

// key is the SHA-256 of a cookie's value.
type key [sha256.Size]byte

// Session is a session of a PI.
type Session struct {
	User    string
	Address string // where it began
	Began   time.Time

	key  key
	done chan struct{} // closed when the session ends

	// Guarded by Sessions.mu.
	credential string    // accounts.PI.Credential of the password that it goes with
	renewing   bool      // Renew is under way, and the credential may differ
	seen       time.Time // of the last activity
	signed     bool      // both components of a signature were given in it
}

// Done returns a channel that is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// EndedError is the error for a session that is over or was never begun. Reason is one of
// those in package accounts, or "" if nothing is known of it.
type EndedError struct{ Reason string }

func (e EndedError) Error() string {
	if e.Reason == "" {
		return "there is no such session"
	}
	return "the session has ended: " + e.Reason
}

// New returns Sessions of the PIs in the accounts. Run ends those that are over.
func New(a Accounts, cfg Config) *Sessions {
	if cfg.Idle <= 0 || cfg.Idle > Idle {
		cfg.Idle = Idle
	}
	if cfg.Absolute <= 0 || cfg.Absolute > Absolute {
		cfg.Absolute = Absolute
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Sessions{accounts: a, cfg: cfg, open: make(map[key]*Session), ended: make(map[key]string)}
}

// IdleAfter returns after how long without activity a session ends.
func (ss *Sessions) IdleAfter() time.Duration { return ss.cfg.Idle }

// Begin begins a session of a PI who has just been authenticated, and returns it with the
// value of its cookie. Credential is accounts.PI.Credential of the password that was
// checked, or "" for the present one. The PI's oldest session ends if there would be more
// than five. The error is Throttled while there are 10,000 sessions, Forbidden for a
// one-time password, and Unauthenticated if the password was changed since it was checked,
// or the PI disabled.
func (ss *Sessions) Begin(ctx context.Context, user, credential, address string) (s *Session, cookie string, err error) {
	standing, err := ss.accounts.Standing(ctx, user)
	if err != nil {
		return nil, "", err
	}
	if standing.OneTime {
		return nil, "", events.Errorf(events.Forbidden, "an operator has set this password; choose one of your own first")
	}
	credential = cmp.Or(credential, standing.Credential)
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	now := ss.cfg.Clock()
	s = &Session{
		User: user, Address: address, Began: now, seen: now,
		key: sha256.Sum256(random), credential: credential, done: make(chan struct{}),
	}
	ss.mu.Lock()
	if len(ss.open) >= maxSessions {
		ss.mu.Unlock()
		return nil, "", &events.Error{Code: events.Throttled, Message: "too many sessions are open; try again in some minutes", RetryAfter: time.Minute}
	}
	ss.open[s.key] = s
	ss.mu.Unlock()

	// The session is not known to the browser before its begin is on record.
	if err := ss.accounts.SessionBegan(ctx, user, credential, address); err != nil {
		ss.mu.Lock()
		delete(ss.open, s.key)
		ss.mu.Unlock()
		return nil, "", err
	}
	for replaced := ss.removeSurplus(s); replaced != nil; replaced = ss.removeSurplus(s) {
		ss.recordEnd(ctx, replaced, accounts.SessionReplaced)
	}
	return s, base64.RawURLEncoding.EncodeToString(random), nil
}

// removeSurplus removes the oldest session of the PI of a new one if there are too many, and
// returns it, or nil. Each sign-in calls it after its own session is open, so sign-ins at the
// same time leave no more than are allowed, and no fewer.
func (ss *Sessions) removeSurplus(latest *Session) (oldest *Session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	n := 0
	for _, s := range ss.open {
		if s.User != latest.User {
			continue
		}
		if n++; s != latest && (oldest == nil || s.Began.Before(oldest.Began)) {
			oldest = s
		}
	}
	if n <= maxPerUser {
		return nil
	}
	ss.remove(oldest, accounts.SessionReplaced)
	return oldest
}

// Resume returns the session with the value of its cookie and what its PI may do now. With
// activity it counts as used. The error is an EndedError if the session is over; Resume ends
// it if it is found to be.
func (ss *Sessions) Resume(ctx context.Context, cookie string, activity bool) (*Session, accounts.Standing, error) {
	k, ok := keyOf(cookie)
	if !ok {
		return nil, accounts.Standing{}, EndedError{}
	}
	ss.mu.Lock()
	s, ok := ss.open[k]
	reason := ss.ended[k]
	ss.mu.Unlock()
	if !ok {
		return nil, accounts.Standing{}, EndedError{reason}
	}
	standing, err := ss.check(ctx, s)
	if err != nil {
		return nil, standing, err
	}
	if activity {
		ss.mu.Lock()
		s.seen = ss.cfg.Clock()
		ss.mu.Unlock()
	}
	return s, standing, nil
}

// Check returns what the PI of a session may do now, and ends the session if it is over. It
// is no activity.
func (ss *Sessions) Check(ctx context.Context, s *Session) (accounts.Standing, error) {
	select {
	case <-s.done:
		ss.mu.Lock()
		defer ss.mu.Unlock()
		return accounts.Standing{}, EndedError{ss.ended[s.key]}
	default:
		return ss.check(ctx, s)
	}
}

func (ss *Sessions) check(ctx context.Context, s *Session) (accounts.Standing, error) {
	ss.mu.Lock()
	before := s.credential
	ss.mu.Unlock()
	standing, err := ss.accounts.Standing(ctx, s.User)
	if err != nil {
		return standing, err
	}
	reason := ss.over(s)
	// If Renew has set another credential since the standing was read, that may have the
	// former one. The next check reads both anew.
	ss.mu.Lock()
	changed := standing.Credential != s.credential && s.credential == before && !s.renewing
	ss.mu.Unlock()
	switch {
	case standing.Disabled:
		reason = accounts.SessionDisabled
	case changed:
		reason = accounts.SessionPassword
	}
	if reason != "" {
		ss.end(ctx, s, reason)
		return standing, EndedError{reason}
	}
	return standing, nil
}

// over returns why the time of a session is over, or "".
func (ss *Sessions) over(s *Session) string {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	now := ss.cfg.Clock()
	switch {
	case now.Sub(s.Began) >= ss.cfg.Absolute:
		return accounts.SessionAbsolute
	case now.Sub(s.seen) >= ss.cfg.Idle:
		return accounts.SessionIdle
	}
	return ""
}

// Until returns when the session ends if nothing is done in it.
func (ss *Sessions) Until(s *Session) time.Time {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	idle, absolute := s.seen.Add(ss.cfg.Idle), s.Began.Add(ss.cfg.Absolute)
	if absolute.Before(idle) {
		return absolute
	}
	return idle
}

// End ends a session for one of the reasons in package accounts. Ending it again changes
// nothing.
func (ss *Sessions) End(ctx context.Context, s *Session, reason string) { ss.end(ctx, s, reason) }

// maxEnded bounds of how many ended sessions the reason is known.
const maxEnded = 10_000

func (ss *Sessions) end(ctx context.Context, s *Session, reason string) {
	ss.mu.Lock()
	removed := ss.remove(s, reason)
	ss.mu.Unlock()
	if removed {
		ss.recordEnd(ctx, s, reason)
	}
}

// remove makes a session one that has ended, and reports whether it was open. The Sessions
// must be locked.
func (ss *Sessions) remove(s *Session, reason string) bool {
	if _, ok := ss.open[s.key]; !ok {
		return false
	}
	delete(ss.open, s.key)
	ss.ended[s.key] = reason
	if ss.order = append(ss.order, s.key); len(ss.order) > maxEnded {
		delete(ss.ended, ss.order[0])
		ss.order = ss.order[1:]
	}
	close(s.done)
	return true
}

// recordEnd audits the end of a session, also if the request that found it was given up. If
// that fails, Run tries again.
func (ss *Sessions) recordEnd(ctx context.Context, s *Session, reason string) {
	e := end{s, reason, ss.cfg.Clock()}
	if err := ss.audit(ctx, e); err != nil {
		ss.cfg.Log.ErrorContext(ctx, "cannot audit the end of a session yet", "user", s.User, "reason", reason, "error", err)
		ss.mu.Lock()
		defer ss.mu.Unlock()
		ss.unrecorded = append(ss.unrecorded, e)
	}
}

func (ss *Sessions) audit(ctx context.Context, e end) error {
	return ss.accounts.SessionEnded(context.WithoutCancel(ctx), e.session.User, e.session.Address, e.reason, e.at)
}

// recordAgain audits the ends that could not be audited before, in their order, until one
// of them fails. It returns how many are left, and why.
func (ss *Sessions) recordAgain(ctx context.Context) (left int, err error) {
	ss.mu.Lock()
	again := ss.unrecorded
	ss.unrecorded = nil
	ss.mu.Unlock()
	for len(again) > 0 {
		if err = ss.audit(ctx, again[0]); err != nil {
			break
		}
		again = again[1:]
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.unrecorded = append(again, ss.unrecorded...)
	return len(ss.unrecorded), err
}

// Signed reports whether both components of a signature, the user name and the password,
// were given in the session. The first signature of a session needs both, later ones the
// password (21 CFR 11.200(a)(1)).
func (ss *Sessions) Signed(s *Session) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return s.signed
}

// SetSigned records that both components were given.
func (ss *Sessions) SetSigned(s *Session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.signed = true
}

// Renew calls change, by which the PI of a session chooses another password. The session
// goes on, and all others of the PI end. If change fails, all go on.
func (ss *Sessions) Renew(ctx context.Context, s *Session, change func() error) error {
	// Run, or another request of the session, may look at it between the change and the
	// new credential.
	ss.setRenewing(s, true)
	defer ss.setRenewing(s, false)
	if err := change(); err != nil {
		return err
	}
	standing, err := ss.accounts.Standing(context.WithoutCancel(ctx), s.User)
	if err != nil {
		return err
	}
	if !standing.OneTime { // else an operator has set another one since, which ends this session too
		ss.mu.Lock()
		s.credential = standing.Credential
		ss.mu.Unlock()
	}
	for _, other := range ss.all() {
		if other != s && other.User == s.User {
			_, _ = ss.check(context.WithoutCancel(ctx), other) // Run checks it too
		}
	}
	return nil
}

func (ss *Sessions) setRenewing(s *Session, renewing bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.renewing = renewing
}

// Len returns how many sessions are open.
func (ss *Sessions) Len() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return len(ss.open)
}

// Metrics returns the collectors, to be registered once.
func (ss *Sessions) Metrics() []prometheus.Collector {
	return []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "signoff_desk_sessions",
		Help: "Sessions of PIs who are signed in at the pages.",
	}, func() float64 { return float64(ss.Len()) })}
}

// standingEvery is after how many looks at the times Run reads what the PIs may do. Each
// request of a session reads that anyway.
const standingEvery = 5

// Run ends sessions when they are over, until ctx ends. Then it ends all others and returns
// nil.
func (ss *Sessions) Run(ctx context.Context) error {
	tick := time.NewTicker(ss.cfg.Every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			ss.shutDown(ctx)
			return nil
		case <-tick.C:
		}
		_, _ = ss.recordAgain(ctx) // recordEnd has logged the error
		for _, s := range ss.all() {
			if reason := ss.over(s); reason != "" {
				ss.end(ctx, s, reason)
			} else if n%standingEvery != 0 {
				continue
			} else if _, err := ss.check(ctx, s); err != nil && !errors.As(err, &EndedError{}) && ctx.Err() == nil {
				ss.cfg.Log.WarnContext(ctx, "cannot check a session", "user", s.User, "error", err)
				break
			}
		}
	}
}

// shutDown ends all sessions. It audits no more of their ends after one that fails, because
// that may have waited long for a lock, and a stop is not to wait so long for each session.
func (ss *Sessions) shutDown(ctx context.Context) {
	ss.mu.Lock()
	for _, s := range ss.open {
		ss.remove(s, accounts.SessionShutdown)
		ss.unrecorded = append(ss.unrecorded, end{s, accounts.SessionShutdown, ss.cfg.Clock()})
	}
	ss.mu.Unlock()
	if left, err := ss.recordAgain(ctx); err != nil {
		ss.cfg.Log.ErrorContext(ctx, "the ends of sessions are not in the audit trail", "sessions", left, "error", err)
	}
}

func (ss *Sessions) all() []*Session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	all := make([]*Session, 0, len(ss.open))
	for _, s := range ss.open {
		all = append(all, s)
	}
	return all
}

// keyOf returns the key of a cookie's value.
func keyOf(cookie string) (k key, ok bool) {
	random, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil || len(random) != 32 {
		return k, false
	}
	return sha256.Sum256(random), true
}
