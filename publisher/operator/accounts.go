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

	// Timeout bounds the wait for answers of all servers. It is waited in full for
	// a server that is gone. Defaults to 250 ms.
	Timeout time.Duration

	Clock func() time.Time // Defaults to time.Now.
	Log   *slog.Logger     // Defaults to slog.Default().
}

// Accounts keeps the accounts that servers store as they should be. A change is
// pushed to all servers, each of which answers for itself. Compare finds what a server
// missed.
//
// No request makes a server load an account into memory: accounts are looked up in the
// server's files, and connections are listed only for accounts that have some there.
type Accounts struct {
	cfg Config

	mu      sync.Mutex
	keeper  *replies           // nil: not connected
	servers map[string]*server // by id
	pushed  map[string]pushed  // by account key

	incomplete responders // those of the last ping, if an active server did not answer it

	reported map[string]bool // accounts of the service of which a server's file differs
}

// pushed is the version of an account that all servers were last found to store, or
// that was last pushed.
type pushed struct {
	issued int64
	digest [sha256.Size]byte // of the JWT
}

// NewAccounts returns Accounts. It does not connect: the first request does.
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

// connection returns the connection in account SYS, and opens it if there is none or it
// was closed.
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

// SetAccount pushes a partner's account to all servers, unless they store it already.
// It returns an UnansweredError if active servers have not answered; the others have
// the account then. A partner's account must not be set by two calls at the same time,
// nor while Compare runs.
func (a *Accounts) SetAccount(ctx context.Context, partner tenancy.Account) error {
	key, issue := a.issuer(partner)
	changed, err := a.changed(key, issue)
	if err != nil {
		return err
	}
	var stored []string
	if !changed {
		answers, resp, err := a.askAll(ctx, fmt.Sprintf(lookUpAccount, key), nil)
		if err != nil {
			return err
		}
		stored = texts(answers)
		if same, err := a.same(key, issue, stored); err != nil {
			return err
		} else if same {
			return a.unanswered(resp, len(answers))
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

// issuer returns the key of a partner's account and the function that makes its JWT.
func (a *Accounts) issuer(partner tenancy.Account) (key string, issue issuer) {
	key = a.cfg.Keys.PartnerAccount(strings.TrimPrefix(partner.Name, tenancy.AccountPrefix))
	return key, func(issued int64) (string, error) { return a.cfg.Keys.partnerJWT(partner, issued) }
}

// changed reports whether the account differs from the version that was last found or
// pushed. Then it is pushed without a look at what the servers store. It returns false
// if no version is known.
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

// unanswered remembers the servers that answered the ping. It returns an
// UnansweredError if an active server is not among them, or if the request itself has
// fewer answers than there are such servers.
func (a *Accounts) unanswered(resp responders, answers int) error {
	s := a.remember(resp)
	if len(s.Silent) == 0 && (answers >= len(resp.answered)) {
		return nil
	}
	if len(s.Silent) == 0 {
		s.Silent = s.Answering // one of them did not answer the request; it is not known which
	}
	return &UnansweredError{s.Silent}
}

// texts returns what answers to lookUpAccount hold: a JWT each, or nothing.
func texts(answers []answer) []string {
	all := make([]string, 0, len(answers))
	for _, answer := range answers {
		all = append(all, string(answer.body))
	}
	return all
}

// same reports whether each stored text is the account as it should be. It makes the
// account with the stored time of issue: the same claims and the same key then make the
// same text. If all are the same it stores that version as the one last found.
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

// issue makes the JWT of an account. Its time of issue is later than those of all
// stored versions and of the one that was last pushed. It stores the JWT as the one
// last pushed.
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

// push sends an account to all servers and waits for their answers as askAll does. It
// returns the servers that have stored it. The others are no longer up to date: Servers
// lists those that answer again as Behind.
func (a *Accounts) push(ctx context.Context, text string) (taken responders, err error) {
	answers, resp, err := a.askAll(ctx, pushAccount, []byte(text))
	if err != nil {
		return taken, fmt.Errorf("push an account: %w", err)
	}
	a.remember(resp) // so that servers are known by name that answer the ping but not the push
	taken.expected = resp.expected
	taken.answered, err = takenBy(answers)
	a.remember(taken)
	return taken, err
}

// takenBy returns the names, by id, of the servers that have stored what was pushed. The
// error joins those of the servers that refused it.
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

// Compare looks up the service's accounts and the given accounts of partners on all
// servers that answer, and pushes those that differ. Servers that now store all of them
// are up to date. So the partners must be all that there are or were: those that were
// removed come as closed accounts. Those that changed last should come first. After an
// error with one account the others are still compared.
func (a *Accounts) Compare(ctx context.Context, partners iter.Seq[tenancy.Account]) error {
	before, err := a.ping(ctx)
	if err != nil {
		return err
	}
	a.remember(before)
	if err := a.compareAll(ctx, partners, before); err != nil {
		return err
	}
	// The answer to lookUpAccount names no server. Only if the servers were the same
	// all the time is it certain that each answer came from another one.
	after, err := a.ping(ctx)
	if err != nil {
		return err
	}
	if maps.Equal(before.answered, after.answered) {
		a.setUpToDate(after)
	}
	return a.unanswered(after, len(after.answered))
}

// setUpToDate stores that these servers store what they should.
func (a *Accounts) setUpToDate(resp responders) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, name := range resp.answered {
		if a.servers[id] == nil {
			a.servers[id] = &server{name: name, first: a.cfg.Clock()}
		}
		a.servers[id].upToDate, a.servers[id].last = true, a.cfg.Clock()
	}
}

// compareAll compares the accounts, several at a time, and waits for all of them. It
// returns only the first few errors.
func (a *Accounts) compareAll(ctx context.Context, partners iter.Seq[tenancy.Account], servers responders) error {
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
		start(func() error { return a.restore(ctx, own, servers) })
	}
	for partner := range partners {
		if ctx.Err() != nil {
			break
		}
		start(func() error { return a.compare(ctx, partner, servers) })
	}
	_ = group.Wait() // errors are in errs, so that one does not end the rest
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(errs[:min(len(errs), mostErrors)]...)
}

// compare looks up the account of a partner and pushes it where it differs.
func (a *Accounts) compare(ctx context.Context, partner tenancy.Account, servers responders) error {
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

// restore pushes an account of the service if a server stores another text. The push
// goes to all servers, but it changes nothing on those that have the text already.
//
// A server writes no file if the text is the one it wrote last, even if the file was
// changed since. It writes that file at its next start. This is logged once.
func (a *Accounts) restore(ctx context.Context, own account, servers responders) error {
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

// lookUp returns the text that each server stores of an account, empty if it stores
// none. It is an error if one of the servers does not answer.
func (a *Accounts) lookUp(ctx context.Context, key string, servers responders) ([]string, error) {
	answers, err := a.ask(ctx, fmt.Sprintf(lookUpAccount, key), nil, len(servers.answered))
	if err != nil {
		return nil, err
	}
	if missing := len(servers.answered) - len(answers); missing > 0 {
		return nil, events.Errorf(events.Unavailable, "%d of %d NATS servers have not answered what they store of account %s", missing, len(servers.answered), key)
	}
	return texts(answers), nil
}

// pushTo pushes an account. It returns an UnansweredError if one of the given servers
// has not answered, even if servers that are not among them have.
func (a *Accounts) pushTo(ctx context.Context, text string, servers responders) error {
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
