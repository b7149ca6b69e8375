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

// accountsDir is the subdirectory of the data directory in which the server stores
// accounts.
const accountsDir = "jwt"

// operation has the keys and the preload that a server was started with.
type operation struct {
	keys    *operator.Keys
	roles   operator.RoleKeys // made at this start
	preload *operator.Preload
}

// operate prepares the data directory for a start and returns what the server starts
// with. It makes new keys of the roles, and writes the accounts of the service that
// list them in place of those in the directory.
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

// makeAccountsDir makes the directory of accounts, for its owner only. A directory
// without account APP of these keys was written under other keys. It is emptied: the
// server would not accept those accounts, and the accounts of partners are pushed again.
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

// adoptStore renames the directory that holds the stream, if necessary, to the key of
// the account: the server looks for it under this name. The directory has another name
// if the stream was stored without operator mode or under keys that are lost.
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

// globQuote returns a pattern that matches only this path.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// apply sets the options that come from the preload, and the directory of accounts. It
// starts the account resolver, which the caller closes if there will be no server.
func (o *operation) apply(opts *server.Options, dir string) error {
	text := o.preload.Text() + operator.Resolver(filepath.Join(dir, accountsDir))
	if err := opts.ProcessConfigString(text); err != nil {
		return fmt.Errorf("configure NATS accounts: %w", err)
	}
	return nil
}

// Preload returns the accounts of the service that the server started with.
func (s *Server) Preload() *operator.Preload { return s.operation.preload }

// Keys returns the keys that have signed the accounts.
func (s *Server) Keys() *operator.Keys { return s.operation.keys }

// Credentials returns the content of a credentials file (.creds) of a role. The next
// start of the server does not accept it.
func (s *Server) Credentials(role Role) ([]byte, error) {
	return s.operation.keys.Credentials(s.operation.roles, role)
}

// Accounts returns the operator.Accounts with which partners' accounts are kept on the
// server. The caller must call Close of what is returned.
func (s *Server) Accounts() *operator.Accounts {
	return operator.NewAccounts(operator.Config{
		Connect: func() (*nats.Conn, error) { return s.Connect(Keeper) },
		Keys:    s.operation.keys, Preload: s.operation.preload, Timeout: accountsTimeout, Log: s.log,
	})
}

// accountsTimeout is long: there is one server, and it runs in this process, so its
// answer always comes.
const accountsTimeout = 5 * time.Second

// inProcessTimeout bounds the wait for the server when a connection is opened. The server
// of this process accepts it as soon as the machine lets it, or is shut down.
const inProcessTimeout = 30 * time.Second

// Connect opens a connection within the process as role. Options may replace the name
// and the handler that are set here, but not the server and the login.
func (s *Server) Connect(role Role, opts ...nats.Option) (*nats.Conn, error) {
	login, err := s.operation.keys.Login(s.operation.roles, role)
	if err != nil {
		return nil, err
	}
	all := append([]nats.Option{
		nats.Name("signoff " + string(role)),
		nats.Timeout(inProcessTimeout),
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
