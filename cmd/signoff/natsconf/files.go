package natsconf

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// The files of a NATS configuration. The service's secrets are in a separate directory,
// because the servers do not need them.
const (
	AccountsConf   = "accounts.conf"
	CredentialsDir = "credentials"
	PasswordSuffix = ".password"
	routePassword  = "route.password"
	LoginKeyFile   = "login.nk"
)

// files writes the files that are new or have changed, readable by their owner only. After
// the first error it writes nothing more.
type files struct {
	dir     string   // of the files that the servers read
	secrets string   // directory of the files that only the service reads
	changed []string // paths of the files written
	before  string   // previous content of AccountsConf
	err     error
}

// shared returns the path of a file that the servers read.
func (f *files) shared(name string) string { return filepath.Join(f.dir, name) }

// own returns the path of a file that only the service reads.
func (f *files) own(name string) string { return filepath.Join(f.secrets, name) }

// reloads returns how often running servers have to reload: once more if an account is new
// to them.
func (f *files) reloads(accounts []tenancy.Account) int {
	if f.before == "" || !slices.Contains(f.changed, f.shared(AccountsConf)) {
		return 0
	}
	for _, a := range accounts {
		if !strings.Contains(f.before, `"`+a.Name+`" {`) {
			return 2
		}
	}
	return 1
}

// read returns the content of a file, or "" if it does not exist.
func (f *files) read(path string) string {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.err = errors.Join(f.err, err)
	}
	return string(content)
}

func (f *files) write(path, content string) {
	if f.err != nil || content == f.read(path) {
		return
	}
	if f.err = os.MkdirAll(filepath.Dir(path), 0o700); f.err != nil {
		return
	}
	if f.err = datadir.WriteFile(path, []byte(content)); f.err == nil {
		f.changed = append(f.changed, path)
	}
}

// secret returns the password in a file, which is made on first use.
func (f *files) secret(path string) string {
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

// credentials returns the credentials of all roles, with the passwords of earlier runs.
func (f *files) credentials() map[natsd.Role]natsd.Credentials {
	all, err := natsd.NewCredentials()
	f.err = errors.Join(f.err, err)
	for role, c := range all {
		c.Password = f.secret(f.own(string(role) + PasswordSuffix))
		all[role] = c
	}
	return all
}

// accounts returns the text of the accounts' configuration. It is the previous text if
// nothing has changed.
func (f *files) accounts(c natsd.Configuration) string {
	f.before = f.read(f.shared(AccountsConf))
	c.Previous = f.before
	text, err := c.Text()
	f.err = errors.Join(f.err, err)
	return text
}
