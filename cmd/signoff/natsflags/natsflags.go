// Package natsflags holds the flags that name a NATS server or cluster outside
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

// Flags say how to reach a NATS server or cluster that runs elsewhere;
// without an address the program brings its own. Secrets come from files, which
// are read again for every connection, so that they can be replaced while the
// program runs.
//
// In the user name and in the paths of the secrets "{role}" stands for what a
// connection is for: publisher, reader, doors or keeper, and system for a
// reload. So each role can have a user, and files, of its own.
type Flags struct {
	NATSURL          string `name:"nats-url" help:"NATS server or cluster to use in place of the embedded one, with commas between several; tls:// demands TLS." placeholder:"URL" json:"url"`
	NATSUser         string `name:"nats-user" help:"User name there; {role} stands for publisher, reader, doors or keeper (system with --reload), also in the files below. Default signoff.{role}." placeholder:"USER" json:"user,omitempty"`
	NATSPasswordFile string `name:"nats-password-file" help:"File with the password." placeholder:"FILE" json:"passwordFile,omitempty"`
	NATSTokenFile    string `name:"nats-token-file" help:"File with a token, in place of user and password." placeholder:"FILE" json:"tokenFile,omitempty"`
	NATSNkeyFile     string `name:"nats-nkey-file" help:"File with the seed of a user nkey, in place of user and password." placeholder:"FILE" json:"nkeyFile,omitempty"`
	NATSCreds        string `name:"nats-creds" help:"Credentials file with JWT and seed, in place of user and password." placeholder:"FILE" json:"creds,omitempty"`
	NATSCA           string `name:"nats-ca" help:"Certificates of who vouches for the server (PEM); default the system's." placeholder:"FILE" json:"ca,omitempty"`
	NATSCert         string `name:"nats-cert" help:"Certificate shown to the server (PEM)." placeholder:"FILE" json:"cert,omitempty"`
	NATSKey          string `name:"nats-key" help:"Its private key (PEM)." placeholder:"FILE" json:"key,omitempty"`
}

// Outside reports whether the program uses a server that runs elsewhere.
func (f Flags) Outside() bool { return f.NATSURL != "" }

// Check refuses flags that make no sense together, and plain text to other
// machines unless insecure.
func (f Flags) Check(ctx context.Context, insecure bool) error {
	given := f.Secrets()
	switch {
	case !f.Outside() && f != Flags{}:
		return console.UsageError("--nats-user, --nats-ca and their like are for the server that --nats-url names")
	case !f.Outside():
		return nil
	case given == 0:
		return console.UsageError("--nats-url needs a secret: --nats-password-file, --nats-token-file, --nats-nkey-file or --nats-creds")
	case given > 1:
		return console.UsageError("--nats-password-file, --nats-token-file, --nats-nkey-file and --nats-creds exclude each other")
	case f.NATSUser != "" && f.NATSPasswordFile == "":
		return console.UsageError("--nats-user needs --nats-password-file")
	case (f.NATSCert == "") != (f.NATSKey == ""):
		return console.UsageError("--nats-cert and --nats-key go together")
	}
	return f.checkURLs(ctx, insecure)
}

// Secrets counts the files that prove who connects.
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
			return console.UsageError("--nats-url must hold no user or password, which others would see: name files with --nats-password-file or its like")
		case insecure || u.Scheme == "tls" || f.NATSCA != "" || f.NATSCert != "":
		case !LoopbackOnly(ctx, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222"))):
			return console.UsageError(fmt.Sprintf("--nats-url %s is on another machine and would be spoken to in plain text: use tls:// or --nats-ca, or --insecure if the network between is safe", u))
		}
	}
	return nil
}

// Absolute returns the flags with paths that hold in any working directory.
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

// Reach finds the way to the server.
func (f Flags) Reach(log *slog.Logger) *natsd.Outside {
	return natsd.Reach(natsd.OutsideConfig{URL: f.NATSURL, Options: f.Options, Log: log})
}

// Options returns what a connection for role needs to be let in.
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

// secret proves who connects. The files are tried, so that what is wrong with
// them is said by name instead of by a server that lets nobody in.
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

// userKey reads the seed of a user's nkey. Errors do not show it.
func userKey(path string) (nkeys.KeyPair, error) {
	seed, err := secretFile(path)
	if err != nil {
		return nil, err
	}
	if prefix, _, err := nkeys.DecodeSeed([]byte(seed)); err != nil || prefix != nkeys.PrefixByteUser {
		return nil, fmt.Errorf("%s holds no seed of a user nkey (SU…)", path)
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
