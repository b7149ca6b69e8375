package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// Files of a NATS configuration. The service's secrets are in a directory of
// their own, because the servers do not need them.
const (
	accountsConf   = "accounts.conf"
	credentialsDir = "credentials"
	passwordSuffix = ".password"
	routePassword  = "route.password"
	loginKeyFile   = "login.nk"
)

// natsFiles writes files, readable by their owner only, where they read
// otherwise than before. The first error ends the writing.
type natsFiles struct {
	dir     string // for what the servers read
	secrets string // for what only the service reads
	changed []string
	before  string // accountsConf
	err     error
}

// shared is the path of a file that the servers read.
func (f *natsFiles) shared(name string) string { return filepath.Join(f.dir, name) }

// own is the path of a file that only the service reads.
func (f *natsFiles) own(name string) string { return filepath.Join(f.secrets, name) }

// reloads returns how often servers that run have to reload: once more where an
// account is new to them.
func (f *natsFiles) reloads(accounts []tenancy.Account) int {
	if f.before == "" || !slices.Contains(f.changed, f.shared(accountsConf)) {
		return 0
	}
	for _, a := range accounts {
		if !strings.Contains(f.before, `"`+a.Name+`" {`) {
			return 2
		}
	}
	return 1
}

// read returns a file's content, nothing if it is not there.
func (f *natsFiles) read(path string) string {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.err = errors.Join(f.err, err)
	}
	return string(content)
}

func (f *natsFiles) write(path, content string) {
	if f.err != nil || content == f.read(path) {
		return
	}
	if f.err = os.MkdirAll(filepath.Dir(path), 0o700); f.err != nil {
		return
	}
	if f.err = writeFile(path, []byte(content)); f.err == nil {
		f.changed = append(f.changed, path)
	}
}

// secret returns the password in a file, made on first use.
func (f *natsFiles) secret(path string) string {
	if password := strings.TrimSpace(f.read(path)); password != "" {
		return password
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		f.err = errors.Join(f.err, err)
		return ""
	}
	password := hex.EncodeToString(random)
	f.write(path, password+"\n")
	return password
}

// credentials returns those of the roles, with the passwords that are there
// already.
func (f *natsFiles) credentials() map[natsd.Role]natsd.Credentials {
	all, err := natsd.NewCredentials()
	f.err = errors.Join(f.err, err)
	for role, c := range all {
		c.Password = f.secret(f.own(string(role) + passwordSuffix))
		all[role] = c
	}
	return all
}

// accounts is the configuration, as before where nothing has changed.
func (f *natsFiles) accounts(c natsd.Configuration) string {
	f.before = f.read(f.shared(accountsConf))
	c.Previous = f.before
	text, err := c.Text()
	f.err = errors.Join(f.err, err)
	return text
}
