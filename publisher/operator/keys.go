package operator

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
)

// Names of the service's accounts.
const (
	AccountSystem = "SYS"  // the servers' own
	AccountAuth   = "AUTH" // servers ask in it about logins, and the callout answers
	AccountApp    = "APP"  // the stream, and the parts of the service that write it or make consumers
	AccountRead   = "READ" // who only reads the stream
)

// Files of the key directory. Each holds the seed of one key.
const (
	operatorFile = "operator.nk" // the operator's identity
	accountsFile = "accounts.nk" // its signing key, which signs accounts
	loginsFile   = "logins.nk"   // signs the logins of partners
	answersFile  = "answers.nk"  // signs answers to the servers' questions about logins
	rolesDir     = "roles"       // below it ROLE.nk, which signs users of the role
	preloadDir   = "accounts"    // below it the accounts of the service that outside servers have in their configuration
)

// Keys are the keys of an installation.
//
// The accounts themselves have no private keys: an account's public key is
// computed from the operator's and its name. Signing keys do all that a private
// key could be used for.
type Keys struct {
	dir                                string
	operator, accounts, login, answers nkeys.KeyPair

	Operator string // public key of the operator
	System   string // public key of account SYS
	Auth     string // public key of account AUTH
	App      string // public key of account APP
	Read     string // public key of account READ
}

// keyFiles returns the files of a key directory, the kinds of their keys, and where
// OpenKeys stores the keys.
func (k *Keys) keyFiles() []keyFile {
	return []keyFile{
		{operatorFile, nkeys.PrefixByteOperator, &k.operator},
		{accountsFile, nkeys.PrefixByteOperator, &k.accounts},
		{loginsFile, nkeys.PrefixByteAccount, &k.login},
		{answersFile, nkeys.PrefixByteAccount, &k.answers},
	}
}

type keyFile struct {
	name string
	kind nkeys.PrefixByte
	key  *nkeys.KeyPair
}

// OpenKeys reads the keys in a directory. If there is no such directory it makes
// one with new keys that only its owner can read. If a key is missing from an
// existing directory, that is an error: with a new key in its place the servers
// would refuse accounts or logins.
func OpenKeys(dir string) (*Keys, error) {
	k := &Keys{dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeKeys(dir); err != nil {
			return nil, fmt.Errorf("make the keys of NATS accounts: %w", err)
		}
	}
	for _, f := range k.keyFiles() {
		path := filepath.Join(dir, f.name)
		var err error
		*f.key, err = readKey(path, f.kind)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, events.Errorf(events.Required,
				"%s is missing; restore it from a backup, or remove the directory %s to begin with new keys", path, dir)
		}
		if err != nil {
			return nil, err
		}
	}
	return k, k.compute()
}

// RenewKey replaces a key in the directory by a new one. The name is accounts, logins,
// answers, sentinel or one of Roles. The operator's own key cannot be renewed: the
// keys of all accounts are computed from it.
//
// Nothing that runs takes over the new key. Call OpenKeys and StoredPreload after it,
// and write the servers' configuration, the credentials and the Answers again; the
// key takes effect when servers and service are started with them. The embedded
// server does not use the stored keys of roles: it makes its own at each start.
func RenewKey(dir, name string) error {
	path, kind := filepath.Join(dir, name+".nk"), nkeys.PrefixByteAccount
	switch {
	case name+".nk" == accountsFile:
		kind = nkeys.PrefixByteOperator
	case name+".nk" == loginsFile, name+".nk" == answersFile:
	case slices.Contains(Roles, Role(name)), Role(name) == sentinel:
		path = filepath.Join(dir, rolesDir, name+".nk")
	default:
		var roles []string
		for _, r := range Roles {
			roles = append(roles, string(r))
		}
		return events.Errorf(events.Invalid, "there is no key %q; use accounts, logins, answers or a role: %s", name, strings.Join(append(roles, string(sentinel)), ", "))
	}
	pair, err := nkeys.CreatePair(kind)
	if err == nil {
		err = writeKey(path, pair)
	}
	if err != nil {
		return fmt.Errorf("renew the key %s: %w", name, err)
	}
	return nil
}

// makeKeys makes a directory with new keys. It writes them into a temporary directory
// and renames that. So if it is interrupted there are either all keys or none.
func makeKeys(dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".new-*") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(made) //nolint:errcheck // it is not there if all went well
	for _, f := range new(Keys).keyFiles() {
		pair, err := nkeys.CreatePair(f.kind)
		if err != nil {
			return err
		}
		if err := writeKey(filepath.Join(made, f.name), pair); err != nil {
			return err
		}
	}
	if err := syncDir(made); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// compute sets the public keys of the operator and of the service's accounts.
func (k *Keys) compute() (err error) {
	if k.Operator, err = k.operator.PublicKey(); err != nil {
		return fmt.Errorf("read the key of the NATS operator: %w", err)
	}
	// A partner's id has no dot, so no partner has one of these accounts.
	k.System = accountKey(k.Operator, "."+AccountSystem)
	k.Auth = accountKey(k.Operator, "."+AccountAuth)
	k.App = accountKey(k.Operator, "."+AccountApp)
	k.Read = accountKey(k.Operator, "."+AccountRead)
	return nil
}

// PartnerAccount returns the public key of a partner's account.
func (k *Keys) PartnerAccount(partner string) string { return PartnerAccount(k.Operator, partner) }

// PartnerAccount returns the public key of a partner's account under an operator.
func PartnerAccount(operator, partner string) string { return accountKey(operator, partner) }

// accountKey computes the public key of an account. Nobody knows its private half.
func accountKey(operator, name string) string {
	return publicKey(nkeys.PrefixByteAccount, operator+name)
}

// publicKey returns a digest of the text in the form of a public key.
func publicKey(kind nkeys.PrefixByte, text string) string {
	digest := sha256.Sum256([]byte(text))
	key, err := nkeys.Encode(kind, digest[:])
	if err != nil {
		panic(err) // the kinds are constants, and a digest has the size of a key
	}
	return string(key)
}

// readKey returns the key in a file. A key of another kind is an Invalid Error.
func readKey(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	seed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	seed = bytes.TrimSpace(seed)
	if found, _, err := nkeys.DecodeSeed(seed); err != nil || found != kind {
		return nil, events.Errorf(events.Invalid, "%s holds no %s key; restore it from a backup", path, kind)
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, err
	}
	return newSigningKey(pair)
}

// signingKey is a key pair that computes its keys once. A pair of package nkeys computes them
// from the seed each time, which takes longer than to sign an account.
type signingKey struct {
	nkeys.KeyPair
	public  string
	private ed25519.PrivateKey
}

func newSigningKey(pair nkeys.KeyPair) (signingKey, error) {
	seed, err := pair.Seed()
	if err != nil {
		return signingKey{}, err
	}
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return signingKey{}, err
	}
	public, err := pair.PublicKey()
	return signingKey{pair, public, ed25519.NewKeyFromSeed(raw)}, err
}

// PublicKey returns the public key.
func (k signingKey) PublicKey() (string, error) { return k.public, nil }

// Sign returns the signature of a text.
func (k signingKey) Sign(text []byte) ([]byte, error) { return ed25519.Sign(k.private, text), nil }

// writeKey writes the seed of a key, readable by its owner only.
func writeKey(path string, pair nkeys.KeyPair) error {
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	return WriteFile(path, append(seed, '\n'))
}

// WriteFile writes a file that only its owner can read, and replaces one of that name.
// If it fails, or power is lost, the file is either the former or the new one, and whole.
func WriteFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is not there if all went well
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes sure that files that were renamed within a directory are there after a
// loss of power.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
