// Package datadir is the data directory of one installation: the paths of its
// files, its lock, its keys, and serve.json. The lock is held by one process at a time:
// the running server, or a command that does its work while none runs. The file
// serve.json describes the running server to other commands.
//
// A secret file is readable by its owner only, and is replaced as a whole or not at
// all. The package opens neither the outbox nor the stream in the directory.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is the path of the data directory of one installation.
type Dir string

// Outbox returns the path of the outbox's database.
func (d Dir) Outbox() string { return filepath.Join(string(d), "outbox.db") }

// ReadModel returns the path of the read model's database.
func (d Dir) ReadModel() string { return filepath.Join(string(d), "readmodel.db") }

// TokenKey returns the path of the key that signs access tokens.
func (d Dir) TokenKey() string { return filepath.Join(d.Keys(), "token.jwk") }

// Answers returns the path of the keys with which a callout answers NATS logins.
func (d Dir) Answers() string { return filepath.Join(d.Keys(), "answers.json") }

// OperatorCreds returns the path of the operator's credentials for the embedded NATS
// server. The file exists while that server runs.
func (d Dir) OperatorCreds() string { return filepath.Join(string(d), "operator.creds") }

// Keys returns the directory of all keys.
func (d Dir) Keys() string { return filepath.Join(string(d), "keys") }

// NATSKeys returns the directory of the keys that sign NATS accounts and users.
func (d Dir) NATSKeys() string { return filepath.Join(d.Keys(), "nats") }

// RoutePassword returns the path of the password that outside NATS servers show to each other.
func (d Dir) RoutePassword() string { return filepath.Join(d.Keys(), "route.password") }

// ServeFile returns the path of serve.json.
func (d Dir) ServeFile() string { return filepath.Join(string(d), "serve.json") }

func (d Dir) lockFile() string { return filepath.Join(string(d), "lock") }

// Create creates the directory if it does not exist, for its owner only.
func (d Dir) Create() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	return nil
}

// MustExist returns an error that says how to begin if the directory has no outbox yet.
func (d Dir) MustExist() error {
	_, err := os.Stat(d.Outbox())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no outbox; start with signoff serve, signoff pi add or signoff import, or name another directory with --data", d)
	}
	return err
}

// ServePurpose is the purpose with which a server locks the directory.
const ServePurpose = "serve"

// holderOf is how the lock file names the command that holds the lock.
func holderOf(purpose string) string { return "(signoff " + purpose + ")" }

// Lock locks the directory for this process, until unlock is called or the process ends,
// however it ends. It must be held by a server on the directory, and by a command that
// replaces the server for a while, as keys rotate and rebuild do. Two embedded NATS servers
// on one store would both acknowledge messages, and they take no lock themselves. Commands
// that only use the outbox need no lock. Purpose is the command that locks. It is written
// into the lock file, for the error that other processes get. Lock removes the serve.json of
// a server that was killed, so that no command takes the holder for that server.
func (d Dir) Lock(purpose string) (unlock func(), err error) {
	f, err := os.OpenFile(d.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := lockExclusively(f); err != nil {
		holder, _ := os.ReadFile(d.lockFile()) // only for the message
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the data directory: %w", err)
		}
		return nil, fmt.Errorf("%s is in use by %s; stop that first, or name another directory with --data",
			d, strings.TrimSpace(string(holder)))
	}
	if err := d.RemoveServeFile(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("remove serve.json of a server that was killed: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "process %d %s\n", os.Getpid(), holderOf(purpose))
	}
	return func() { _ = f.Close() }, nil
}
