package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// accountsDir is the directory in which the server stores accounts, below that of
// the data.
const accountsDir = "jwt"

// operation is what the accounts and users of a server come from.
type operation struct {
	keys    *operator.Keys
	roles   operator.RoleKeys // of this start
	preload *operator.Preload
}

// operate makes what the server starts with: keys of the roles that end with it,
// and the accounts of the service, which are written into the server's directory
// whatever was found there.
func operate(dir string, keys *operator.Keys) (*operation, error) {
	o := &operation{keys: keys}
	var err error
	if o.roles, err = operator.NewRoleKeys(); err != nil {
		return nil, err
	}
	accounts := filepath.Join(dir, accountsDir)
	if err := makeAccountsDir(accounts, keys); err != nil {
		return nil, err
	}
	if err := adoptStore(filepath.Join(dir, server.JetStreamStoreDir), keys.App); err != nil {
		return nil, err
	}
	o.preload, err = keys.Preload(o.roles, accounts, time.Now())
	return o, err
}

// makeAccountsDir makes the directory of accounts, for its owner only. One that
// other keys have signed is emptied: what is in it is worth nothing, and the
// accounts of partners are pushed again.
func makeAccountsDir(dir string, keys *operator.Keys) error {
	if _, err := os.Stat(filepath.Join(dir, keys.App+".jwt")); errors.Is(err, fs.ErrNotExist) {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("empty the directory of NATS accounts: %w", err)
		}
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Chmod(dir, 0o700) //nolint:gosec // a directory is entered by its owner
	}
	if err != nil {
		return fmt.Errorf("make the directory of NATS accounts: %w", err)
	}
	return nil
}

// adoptStore renames the directory that holds the stream to the key of the account
// that the stream is in. It has another name where it was stored without
// operator mode or under keys that are lost.
func adoptStore(root, account string) error {
	own := filepath.Join(root, account)
	if _, err := os.Stat(own); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the stream's files: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(globQuote(root), "*", "streams", events.Stream))
	if err != nil {
		return fmt.Errorf("look for the stream's files: %w", err)
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
		if err := os.Rename(filepath.Dir(filepath.Dir(found[0])), own); err != nil {
			return fmt.Errorf("rename the stream's files: %w", err)
		}
		return nil
	default:
		return events.Errorf(events.Conflict, "%s holds the stream %d times, in %s; move all but the right one away", root, len(found), strings.Join(found, ", "))
	}
}

// globQuote returns a pattern that matches the path only.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// apply sets the options that come from it.
func (o *operation) apply(opts *server.Options, dir string) error {
	text := o.preload.Text() + operator.Resolver(filepath.Join(dir, accountsDir))
	if err := opts.ProcessConfigString(text); err != nil {
		return fmt.Errorf("configure NATS accounts: %w", err)
	}
	return nil
}

// Preload returns the accounts of the service that the server started with.
func (s *Server) Preload() *operator.Preload { return s.operation.preload }

// Keys returns those that have signed the accounts.
func (s *Server) Keys() *operator.Keys { return s.operation.keys }

// Credentials returns a credentials file (.creds) of a role. It is worth nothing
// after the server has ended.
func (s *Server) Credentials(role Role) ([]byte, error) {
	return s.operation.keys.Credentials(s.operation.roles, role)
}

// Accounts returns what keeps the accounts of partners on the server. The caller
// must call Close.
func (s *Server) Accounts() *operator.Accounts {
	return operator.NewAccounts(operator.Config{
		Connect: func() (*nats.Conn, error) { return s.Connect(Keeper) },
		Keys:    s.operation.keys, Preload: s.operation.preload, Timeout: accountsTimeout, Log: s.log,
	})
}

// accountsTimeout is long: there is one server, and it is not away.
const accountsTimeout = 5 * time.Second

// Connect opens a connection within the process as role. Options may add to it,
// but not change server and user.
func (s *Server) Connect(role Role, opts ...nats.Option) (*nats.Conn, error) {
	login, err := s.operation.keys.Login(s.operation.roles, role)
	if err != nil {
		return nil, err
	}
	all := append([]nats.Option{
		nats.Name("signoff " + string(role)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.log.Warn("nats: connection", "role", role, "error", err)
		}),
	}, opts...)
	nc, err := nats.Connect("", append(all, nats.InProcessServer(s), login)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS as %s: %w", role, err)
	}
	return nc, nil
}
