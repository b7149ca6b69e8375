package natsconf

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// The files of a NATS configuration. The service's secrets are in separate directories,
// because the servers do not need them.
const (
	OperatorConf   = "operator.conf" // the same for all servers
	CredentialsDir = "credentials"   // of serve, and of people
	CalloutDir     = "callout"       // what signoff callout needs
	CredsSuffix    = ".creds"
	AnswersFile    = "answers.json"
)

// files writes files that are readable by their owner only. It skips a file that has the
// same content already. After the first error it writes nothing more.
type files struct {
	changed []string // paths of the files written
	err     error
}

// write writes one file, and its directory if there is none.
func (f *files) write(path string, content []byte) {
	if f.err != nil {
		return
	}
	before, err := os.ReadFile(path)
	if err == nil && string(before) == string(content) {
		return
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.err = err
		return
	}
	if f.err = os.MkdirAll(filepath.Dir(path), 0o700); f.err != nil {
		return
	}
	if f.err = datadir.WriteFile(path, content); f.err == nil {
		f.changed = append(f.changed, path)
	}
}

// credentials writes a file with the credentials of each of the roles into a directory.
// All holds the keys of all roles.
func (f *files) credentials(dir string, keys *operator.Keys, all operator.RoleKeys, roles ...operator.Role) {
	for _, role := range roles {
		content, err := keys.Credentials(all, role)
		if err != nil {
			f.err = errors.Join(f.err, err)
			return
		}
		f.write(filepath.Join(dir, string(role)+CredsSuffix), content)
	}
}

// newPassword makes a password of 256 random bits.
func newPassword() ([]byte, error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("make a password: %w", err)
	}
	return []byte(hex.EncodeToString(random) + "\n"), nil
}
