package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Preload is the part of the servers' configuration that this package signs: the
// operator, the sentinel and the accounts SYS, AUTH, APP and READ. It does not change with
// partners.
type Preload struct {
	operator, sentinel string    // JWTs
	accounts           []account // SYS, AUTH, APP and READ
}

// account is an account of the service: its public key and its JWT.
type account struct{ key, text string }

// Preload makes the preload. It stores the accounts in dir, in the form of a server's
// resolver directory: one file KEY.jwt for each. An account that is stored there
// already, and has not changed, keeps its time of issue. Any other content of its file
// is replaced by a JWT with a later time of issue, because a server prefers the later
// one.
func (k *Keys) Preload(roles RoleKeys, dir string, now time.Time) (*Preload, error) {
	p := &Preload{}
	var err error
	if p.operator, err = k.operatorJWT(firstIssue); err != nil {
		return nil, err
	}
	if p.sentinel, err = k.sentinelJWT(roles, firstIssue); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of NATS accounts: %w", err)
	}
	for _, a := range []struct {
		key string
		jwt func(RoleKeys, int64) (string, error)
	}{{k.System, k.systemJWT}, {k.Auth, k.authJWT}, {k.App, k.appJWT}, {k.Read, k.readJWT}} {
		path := filepath.Join(dir, a.key+".jwt")
		stored, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read a NATS account: %w", err)
		}
		issued := issuedAt(string(stored))
		text, err := a.jwt(roles, issued) // the stored text again, if nothing has changed
		if err == nil && text != string(stored) {
			if text, err = a.jwt(roles, later(now, issued)); err == nil {
				err = WriteFile(path, []byte(text))
			}
		}
		if err != nil {
			return nil, fmt.Errorf("write a NATS account: %w", err)
		}
		p.accounts = append(p.accounts, account{a.key, text})
	}
	return p, nil
}

// StoredPreload returns the role keys of the key directory and the preload that lists
// them. Both are for servers outside of the program. It makes and stores role keys
// that are missing. It stores the accounts in the key directory too, so that they keep
// their time of issue.
func (k *Keys) StoredPreload(now time.Time) (RoleKeys, *Preload, error) {
	roles, err := k.RoleKeys()
	if err != nil {
		return nil, nil, err
	}
	p, err := k.Preload(roles, filepath.Join(k.dir, preloadDir), now)
	return roles, p, err
}

// Text returns the preload in the format of nats-server's configuration. It is the
// same for all servers.
func (p *Preload) Text() string {
	var w strings.Builder
	keys := make([]string, 0, len(p.accounts))
	fmt.Fprintf(&w, "operator: %s\n", Quote(p.operator))
	fmt.Fprintf(&w, "system_account: %s\n", Quote(p.accounts[0].key))
	fmt.Fprintf(&w, "resolver_preload {\n")
	for _, a := range p.accounts {
		fmt.Fprintf(&w, "  %s: %s\n", a.key, Quote(a.text))
		keys = append(keys, a.key)
	}
	fmt.Fprintf(&w, "}\n")
	// Only users of these accounts can log in with a JWT of their own. All others log
	// in through the callout, whoever has signed the JWT that they show.
	fmt.Fprintf(&w, "resolver_pinned_accounts: [%s]\n", strings.Join(keys, ", "))
	fmt.Fprintf(&w, "default_sentinel: %s\n", Quote(p.sentinel))
	// Without this timeout a server refuses a login that is not answered within 2 s,
	// and clients stop reconnecting after two refusals.
	fmt.Fprintf(&w, "authorization {timeout: %d}\n", tenancy.LoginWait/time.Second)
	return w.String()
}

// mostAccounts is how many accounts a server can store.
const mostAccounts = 100_000

// Resolver returns the part of a server's configuration that names the directory
// in which it stores accounts. Accounts are never deleted. If one were deleted while
// a server is away, the other servers would take it over from that server again.
//
// Once in the interval a server asks another one for all accounts, unless both store the
// same. While many accounts are pushed they nearly never do, and to take over thousands of
// accounts keeps a server busy for seconds. So the interval is long: Accounts.Compare pushes
// what a server lacks.
func Resolver(dir string) string {
	return fmt.Sprintf("resolver {\n  type: full\n  dir: %s\n  allow_delete: false\n  interval: \"1m\"\n  limit: %d\n}\n", Quote(dir), mostAccounts)
}

// Quote returns text as a quoted string of the format of nats-server's configuration. In a
// quoted string a dollar sign does not begin a variable. All bytes but the printable
// characters of ASCII are written as \xXX: of the other escapes of Go the format knows only
// some, and whether text is valid UTF-8 does not matter then.
func Quote(text string) string {
	var w strings.Builder
	w.WriteByte('"')
	for _, b := range []byte(text) {
		switch {
		case b == '"', b == '\\':
			w.WriteByte('\\')
			w.WriteByte(b)
		case b < ' ', b > '~':
			fmt.Fprintf(&w, `\x%02x`, b)
		default:
			w.WriteByte(b)
		}
	}
	w.WriteByte('"')
	return w.String()
}
