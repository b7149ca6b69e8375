package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/publisher/callout"
)

// dataDir is the directory that holds everything of one installation.
type dataDir string

func (d dataDir) outbox() string    { return filepath.Join(string(d), "outbox.db") }
func (d dataDir) readModel() string { return filepath.Join(string(d), "readmodel.db") }
func (d dataDir) tokenKey() string  { return filepath.Join(string(d), "keys", "token.jwk") }
func (d dataDir) loginKey() string  { return filepath.Join(string(d), "keys", "login.nk") }
func (d dataDir) lockFile() string  { return filepath.Join(string(d), "lock") }
func (d dataDir) serveFile() string { return filepath.Join(string(d), "serve.json") }

// make creates the directory, for its owner only.
func (d dataDir) make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}

// mustExist refuses a directory that holds no outbox yet.
func (d dataDir) mustExist() error {
	_, err := os.Stat(d.outbox())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no data in %s: start with signoff serve, signoff pi add or signoff import, or name another directory with --data", d)
	}
	return err
}

// lock takes the directory for one process that runs the embedded server: two
// servers on one store would both acknowledge, and neither takes a lock itself.
// The lock ends with the process, however it ends.
func (d dataDir) lock(purpose string) (unlock func(), err error) {
	f, err := os.OpenFile(d.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := exclusively(f); err != nil {
		holder, _ := os.ReadFile(d.lockFile())
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the data directory: %w", err)
		}
		return nil, fmt.Errorf("%s is in use by %s; stop that first, or name another directory with --data",
			d, strings.TrimSpace(string(holder)))
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "process %d (signoff %s)\n", os.Getpid(), purpose)
	}
	return func() { _ = f.Close() }, nil
}

// loginSeed returns the key that signs the answers to NATS logins, made on first
// use.
func (d dataDir) loginSeed() ([]byte, error) { return keyFile(d.loginKey(), callout.NewIssuer) }

// keyFile returns the content of a key file, made on first use.
func keyFile(path string, create func() ([]byte, error)) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	if key, err = create(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the key directory: %w", err)
	}
	if err := writeFile(path, key); err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return key, nil
}

// writeFile puts a secret file in place whole or not at all, readable by its
// owner only.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil { //nolint:gosec // both are in the data directory that the operator names
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes sure that what was put in place is still there after power is
// lost.
func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // as above
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
