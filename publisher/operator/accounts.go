package operator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

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

	// Timeout is how long a server may answer nothing, neither the request nor another
	// one, until the request no longer waits for it. It is waited in full for a server
	// that is gone. Defaults to 250 ms.
	Timeout time.Duration

	// CompareTimeout is the same for Compare, of a server that answered when Compare
	// began. Such a server may be busy for seconds with accounts of other servers.
	// Defaults to 10 s, or to Timeout if that is longer.
	CompareTimeout time.Duration

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
	cfg.CompareTimeout = cmp.Or(cfg.CompareTimeout, max(10*time.Second, cfg.Timeout))
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
	before := []int64{a.pushed[key].issued}
	a.mu.Unlock()
	for _, text := range stored {
		before = append(before, issuedAt(text))
	}
	issued := later(a.cfg.Clock(), before...)
	text, err := issue(issued) // not under the lock: it takes a while to sign
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
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
