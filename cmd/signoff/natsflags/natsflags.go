// Package natsflags contains the flags that name a NATS server or cluster outside
// of the program, and turns them into connections.
package natsflags

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// Flags name an outside NATS server or cluster and the secrets for it. Without an address
// the program starts its own server. Secrets come from files, which are read again for
// every connection, so that they can be replaced while the program runs.
//
// In the user name and in the paths of the secrets, "{role}" stands for the role of a
// connection: publisher, reader, doors or keeper, and system for a reload. So each role
// can have its own user and files.
type Flags struct {
	NATSURL          string `name:"nats-url" help:"NATS server or cluster to use in place of the embedded one, with commas between several; tls:// demands TLS." placeholder:"URL" json:"url"`
	NATSUser         string `name:"nats-user" help:"User name there; {role} stands for publisher, reader, doors or keeper (system with --reload), also in the files below. Default signoff.{role}." placeholder:"USER" json:"user,omitempty"`
	NATSPasswordFile string `name:"nats-password-file" help:"File with the password." placeholder:"FILE" json:"passwordFile,omitempty"`
	NATSTokenFile    string `name:"nats-token-file" help:"File with a NATS token, in place of user and password." placeholder:"FILE" json:"tokenFile,omitempty"`
	NATSNkeyFile     string `name:"nats-nkey-file" help:"File with the seed of a user nkey, in place of user and password." placeholder:"FILE" json:"nkeyFile,omitempty"`
	NATSCreds        string `name:"nats-creds" help:"Credentials file with JWT and seed, in place of user and password." placeholder:"FILE" json:"creds,omitempty"`
	NATSCA           string `name:"nats-ca" help:"Certificates of the authorities that the server's certificate is checked against (PEM); default the system's." placeholder:"FILE" json:"ca,omitempty"`
	NATSCert         string `name:"nats-cert" help:"Certificate presented to the server (PEM)." placeholder:"FILE" json:"cert,omitempty"`
	NATSKey          string `name:"nats-key" help:"Its private key (PEM)." placeholder:"FILE" json:"key,omitempty"`
}

// Outside reports whether the program uses an outside NATS server.
func (f Flags) Outside() bool { return f.NATSURL != "" }

// Check returns an error if flags contradict each other, or if they would have the program
// speak plain text to another machine and insecure is false.
func (f Flags) Check(ctx context.Context, insecure bool) error {
	given := f.Secrets()
	switch {
	case !f.Outside() && f != Flags{}:
		return console.UsageError("--nats-user, --nats-ca and the other --nats flags of an outside server need --nats-url")
	case !f.Outside():
		return nil
	case given == 0:
		return console.UsageError("--nats-url needs a secret: --nats-password-file, --nats-token-file, --nats-nkey-file or --nats-creds")
	case given > 1:
		return console.UsageError("use only one of --nats-password-file, --nats-token-file, --nats-nkey-file and --nats-creds")
	case f.NATSUser != "" && f.NATSPasswordFile == "":
		return console.UsageError("--nats-user needs --nats-password-file")
	case (f.NATSCert == "") != (f.NATSKey == ""):
		return console.UsageError("--nats-cert and --nats-key need each other")
	}
	return f.checkURLs(ctx, insecure)
}

// Secrets returns the number of flags that name a secret.
func (f Flags) Secrets() (n int) {
	for _, file := range []string{f.NATSPasswordFile, f.NATSTokenFile, f.NATSNkeyFile, f.NATSCreds} {
		if file != "" {
			n++
		}
	}
	return n
}

func (f Flags) checkURLs(ctx context.Context, insecure bool) error {
	for _, text := range strings.Split(f.NATSURL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls":
			return console.UsageError("--nats-url must be nats://host:port or tls://host:port, with commas between several")
		case u.User != nil:
			return console.UsageError("--nats-url must contain no user or password, because others can see them: use --nats-password-file or one of the other files")
		case insecure || u.Scheme == "tls" || f.NATSCA != "" || f.NATSCert != "":
		case !LoopbackOnly(ctx, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222"))):
			return console.UsageError(fmt.Sprintf("--nats-url %s is on another machine and the connection would be plain text: use tls:// or --nats-ca, or --insecure if the network is safe", u))
		}
	}
	return nil
}

// Absolute returns the flags with absolute paths.
func (f Flags) Absolute() (Flags, error) {
	for _, path := range []*string{&f.NATSPasswordFile, &f.NATSTokenFile, &f.NATSNkeyFile, &f.NATSCreds, &f.NATSCA, &f.NATSCert, &f.NATSKey} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Reach returns the outside server, to connect to.
func (f Flags) Reach(log *slog.Logger) *natsd.Outside {
	return natsd.Reach(natsd.OutsideConfig{URL: f.NATSURL, Options: f.Options, Log: log})
}

// Options returns the options by which a connection for the role authenticates.
func (f Flags) Options(role natsd.Role) ([]nats.Option, error) {
	secret, err := f.secret(role)
	if err != nil {
		return nil, err
	}
	options := []nats.Option{secret}
	if f.NATSCA != "" {
		options = append(options, nats.RootCAs(f.NATSCA))
	}
	if f.NATSCert != "" {
		options = append(options, nats.ClientCert(f.NATSCert, f.NATSKey))
	}
	return options, nil
}

// secret returns the option with the role's secret. It reads the files once, so that an
// error names the file; the server would only refuse the login.
func (f Flags) secret(role natsd.Role) (nats.Option, error) {
	of := func(text string) string { return strings.ReplaceAll(text, "{role}", string(role)) }
	switch {
	case f.NATSTokenFile != "":
		file := of(f.NATSTokenFile)
		_, err := secretFile(file)
		return nats.TokenHandler(func() string { token, _ := secretFile(file); return token }), err
	case f.NATSNkeyFile != "":
		file := of(f.NATSNkeyFile)
		public, err := nkeyOf(file)
		return nats.Nkey(public, func(nonce []byte) ([]byte, error) { return signWith(file, nonce) }), err
	case f.NATSCreds != "":
		file := of(f.NATSCreds)
		_, err := secretFile(file)
		return nats.UserCredentials(file), err
	default:
		user, file := of(cmp.Or(f.NATSUser, "signoff.{role}")), of(f.NATSPasswordFile)
		_, err := secretFile(file)
		return nats.UserInfoHandler(func() (string, string) { password, _ := secretFile(file); return user, password }), err
	}
}

// secretFile returns the first line of a file.
func secretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the NATS credentials: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	line, err := console.FirstLine(f)
	if err != nil {
		return "", fmt.Errorf("read the NATS credentials in %s: %w", path, err)
	}
	return line, nil
}

// userKey reads the seed of a user's nkey. Errors do not contain the seed.
func userKey(path string) (nkeys.KeyPair, error) {
	seed, err := secretFile(path)
	if err != nil {
		return nil, err
	}
	if prefix, _, err := nkeys.DecodeSeed([]byte(seed)); err != nil || prefix != nkeys.PrefixByteUser {
		return nil, fmt.Errorf("%s contains no seed of a user nkey (SU…)", path)
	}
	return nkeys.FromSeed([]byte(seed))
}

func nkeyOf(path string) (string, error) {
	key, err := userKey(path)
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	return key.PublicKey()
}

func signWith(path string, nonce []byte) ([]byte, error) {
	key, err := userKey(path)
	if err != nil {
		return nil, errors.Join(nats.ErrAuthorization, err)
	}
	defer key.Wipe()
	return key.Sign(nonce)
}
