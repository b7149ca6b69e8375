package operator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Config of Accounts.
type Config struct {
	// Connect opens a connection in the role Keeper. It is called again when a
	// connection was closed. Required.
	Connect func() (*nats.Conn, error)

	// Keys sign the accounts. Required.
	Keys *Keys

	// Preload is what the servers have from their configuration. Required.
	Preload *Preload

	// Timeout bounds the wait for answers of all servers. Defaults to 250 ms:
	// one that is gone is waited for in vain.
	Timeout time.Duration

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().
}

// Accounts keeps the accounts that servers store as they should be. A change is
// pushed to all servers, each of which answers for itself; what a server missed
// is found by Compare. It loads no account on a server: what an account is like
// is looked up in the server's files, and connections are listed for all
// accounts together.
type Accounts struct {
	cfg Config

	mu      sync.Mutex
	keeper  *replies
	servers map[string]*server // by id
	pushed  map[string]pushed  // by account key

	incomplete census // the last one, if some that count did not answer

	reported map[string]bool // accounts of the service of which a server's file differs
}

// pushed is what was found or pushed last of an account.
type pushed struct {
	issued int64
	digest [sha256.Size]byte // of the JWT
}

// NewAccounts returns Accounts. It does not connect yet.
func NewAccounts(cfg Config) *Accounts {
	cfg.Timeout = cmp.Or(cfg.Timeout, 250*time.Millisecond)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Accounts{cfg: cfg, servers: make(map[string]*server), pushed: make(map[string]pushed), reported: make(map[string]bool)}
}

// Close closes the connection.
func (a *Accounts) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keeper != nil {
		a.keeper.nc.Close()
		a.keeper = nil
	}
}

// connection returns the connection in account SYS.
func (a *Accounts) connection() (*replies, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keeper == nil || a.keeper.nc.IsClosed() {
		nc, err := a.cfg.Connect()
		if err != nil {
			return nil, err
		}
		if a.keeper, err = newReplies(nc); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return a.keeper, nil
}

// issuer makes the JWT of an account, issued at the given time.
type issuer func(issued int64) (string, error)

// SetAccount has all servers store a partner's account, unless they do already.
// It returns an UnansweredError that names servers which count and have not
// answered; the others have the account then. A partner's account must not be
// set by two calls at the same time, nor while Compare runs.
func (a *Accounts) SetAccount(ctx context.Context, partner tenancy.Account) error {
	key, issue := a.issuer(partner)
	changed, err := a.changed(key, issue)
	if err != nil {
		return err
	}
	var stored []string
	if !changed {
		answers, c, err := a.askAll(ctx, fmt.Sprintf(lookUpAccount, key), nil)
		if err != nil {
			return err
		}
		stored = texts(answers)
		if same, err := a.same(key, issue, stored); err != nil {
			return err
		} else if same {
			return a.unanswered(c, len(answers))
		}
	}
	text, err := a.issue(key, issue, stored)
	if err != nil {
		return err
	}
	taken, err := a.push(ctx, text)
	if err != nil {
		return err
	}
	return a.unanswered(taken, len(taken.answered))
}

// issuer returns the key of a partner's account and what makes its JWT.
func (a *Accounts) issuer(partner tenancy.Account) (key string, issue issuer) {
	key = a.cfg.Keys.PartnerAccount(strings.TrimPrefix(partner.Name, tenancy.AccountPrefix))
	return key, func(issued int64) (string, error) { return a.cfg.Keys.partnerJWT(partner, issued) }
}

// changed reports whether the account differs from what was found or pushed
// last, so that there is nothing to look up.
func (a *Accounts) changed(key string, issue issuer) (bool, error) {
	a.mu.Lock()
	last, ok := a.pushed[key]
	a.mu.Unlock()
	if !ok {
		return false, nil
	}
	text, err := issue(last.issued)
	return sha256.Sum256([]byte(text)) != last.digest, err
}

// unanswered returns an UnansweredError if fewer servers have answered than count.
func (a *Accounts) unanswered(c census, answers int) error {
	s := a.note(c)
	if len(s.Silent) == 0 && (answers >= len(c.answered)) {
		return nil
	}
	if len(s.Silent) == 0 {
		s.Silent = s.Answering // one of them did not answer the request itself
	}
	return &UnansweredError{s.Silent}
}

func texts(answers []answer) []string {
	all := make([]string, 0, len(answers))
	for _, answer := range answers {
		all = append(all, string(answer.body))
	}
	return all
}

// same reports whether each text is the account as it should be. What has the
// same claims, was issued at the same time and was signed by the same key is the
// same text. It remembers an account that is.
func (a *Accounts) same(key string, issue issuer, stored []string) (bool, error) {
	if len(stored) == 0 || stored[0] == "" || slices.ContainsFunc(stored, func(text string) bool { return text != stored[0] }) {
		return false, nil
	}
	issued := issuedAt(stored[0])
	text, err := issue(issued)
	if err != nil || text != stored[0] {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pushed[key] = pushed{issued, sha256.Sum256([]byte(text))}
	return true, nil
}

// issue makes an account that was issued later than all that servers store and
// than all that was pushed before.
func (a *Accounts) issue(key string, issue issuer, stored []string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := []int64{a.pushed[key].issued}
	for _, text := range stored {
		before = append(before, issuedAt(text))
	}
	issued := later(a.cfg.Clock(), before...)
	text, err := issue(issued)
	if err == nil {
		a.pushed[key] = pushed{issued, sha256.Sum256([]byte(text))}
	}
	return text, err
}

// push sends an account to all servers and waits until as many have answered as
// should. It returns those that have stored it. Servers lists the others as behind.
func (a *Accounts) push(ctx context.Context, text string) (taken census, err error) {
	answers, c, err := a.askAll(ctx, pushAccount, []byte(text))
	if err != nil {
		return taken, fmt.Errorf("push an account: %w", err)
	}
	a.note(c) // the names of those that do not answer the push itself
	taken.expected = c.expected
	taken.answered, err = takenBy(answers)
	a.note(taken)
	return taken, err
}

// takenBy returns the names of the servers, by id, that have taken what was pushed.
func takenBy(answers []answer) (names map[string]string, err error) {
	names = make(map[string]string)
	for _, answer := range answers {
		var r struct {
			Error *struct {
				Description string `json:"description"`
			} `json:"error"`
		}
		if e := json.Unmarshal(answer.body, &r); e != nil {
			err = errors.Join(err, fmt.Errorf("read a NATS server's answer: %w", e))
		} else if r.Error != nil {
			err = errors.Join(err, fmt.Errorf("NATS server %s does not store an account: %s", answer.server.Name, r.Error.Description))
		} else {
			names[answer.server.ID] = answer.server.Name
		}
	}
	return names, err
}

// comparedAtOnce is how many accounts are looked up at the same time.
const comparedAtOnce = 64

// Compare looks up what all servers that answer store, of the service's accounts
// and of the given ones of partners, and pushes what differs. Servers that stored
// or took over all of it are not behind any more; so partners must be all there
// are, those that were removed as closed accounts. What was changed last should
// come first. The error of one account does not keep back the others.
func (a *Accounts) Compare(ctx context.Context, partners iter.Seq[tenancy.Account]) error {
	before, err := a.census(ctx)
	if err != nil {
		return err
	}
	a.note(before)
	if err := a.compareAll(ctx, partners, before); err != nil {
		return err
	}
	// The answer to a look-up names no server. That each was from another one is
	// certain only if the servers were the same all the time.
	after, err := a.census(ctx)
	if err != nil {
		return err
	}
	if maps.Equal(before.answered, after.answered) {
		a.inStep(after)
	}
	return a.unanswered(after, len(after.answered))
}

// inStep notes that servers store what they should.
func (a *Accounts) inStep(c census) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, name := range c.answered {
		a.servers[id] = &server{name: name, inStep: true, last: a.cfg.Clock()}
	}
}

func (a *Accounts) compareAll(ctx context.Context, partners iter.Seq[tenancy.Account], servers census) error {
	const mostErrors = 5 // they have the same cause, most likely
	var group errgroup.Group
	group.SetLimit(comparedAtOnce)
	var mu sync.Mutex
	var errs []error
	start := func(compare func() error) {
		group.Go(func() error {
			if err := compare(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	for _, own := range a.cfg.Preload.accounts {
		start(func() error { return a.putBack(ctx, own, servers) })
	}
	for partner := range partners {
		if ctx.Err() != nil {
			break
		}
		start(func() error { return a.compare(ctx, partner, servers) })
	}
	_ = group.Wait() // they return none
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(errs[:min(len(errs), mostErrors)]...)
}

// compare looks up the account of a partner and pushes it where it differs.
func (a *Accounts) compare(ctx context.Context, partner tenancy.Account, servers census) error {
	key, issue := a.issuer(partner)
	stored, err := a.lookUp(ctx, key, servers)
	if err != nil {
		return err
	}
	if same, err := a.same(key, issue, stored); same || err != nil {
		return err
	}
	text, err := a.issue(key, issue, stored)
	if err != nil {
		return err
	}
	return a.pushTo(ctx, text, servers)
}

// putBack pushes an account of the service where a server stores another. The
// same text does nothing on the others: there, waiting requests are not lost.
//
// A server does not write a text that it has written last, even if its file was
// changed since; it writes the file at its next start. That is logged once.
func (a *Accounts) putBack(ctx context.Context, own account, servers census) error {
	differs := func() (bool, error) {
		stored, err := a.lookUp(ctx, own.key, servers)
		return slices.ContainsFunc(stored, func(text string) bool { return text != own.text }), err
	}
	different, err := differs()
	if err == nil && different {
		if err = a.pushTo(ctx, own.text, servers); err == nil {
			different, err = differs()
		}
	}
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if different && !a.reported[own.key] {
		a.cfg.Log.Warn("the file of an account of the service differs on a NATS server; the server writes it again when it starts", "account", own.key)
	}
	a.reported[own.key] = different
	return nil
}

// lookUp returns what the servers store of an account, empty where it is nothing.
func (a *Accounts) lookUp(ctx context.Context, key string, servers census) ([]string, error) {
	answers, err := a.ask(ctx, fmt.Sprintf(lookUpAccount, key), nil, len(servers.answered))
	if err != nil {
		return nil, err
	}
	if missing := len(servers.answered) - len(answers); missing > 0 {
		return nil, events.Errorf(events.Unavailable, "%d of %d NATS servers have not answered what they store of account %s", missing, len(servers.answered), key)
	}
	return texts(answers), nil
}

// pushTo pushes an account and returns an UnansweredError if one of the servers has
// not taken it, whatever others do.
func (a *Accounts) pushTo(ctx context.Context, text string, servers census) error {
	answers, err := a.ask(ctx, pushAccount, []byte(text), len(servers.answered))
	if err != nil {
		return fmt.Errorf("push an account: %w", err)
	}
	taken, err := takenBy(answers)
	if err != nil {
		return err
	}
	var silent []string
	for id, name := range servers.answered {
		if _, ok := taken[id]; !ok {
			silent = append(silent, name)
		}
	}
	if len(silent) > 0 {
		slices.Sort(silent)
		return &UnansweredError{silent}
	}
	return nil
}
