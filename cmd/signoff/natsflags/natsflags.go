// Package natsflags contains the flags that name an outside NATS server or cluster, that
// is, one that is not embedded in the program, and turns them into connections. A
// connection has a role, such as publisher or reader, whose credentials it uses.
package natsflags

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// Flags name an outside NATS server or cluster and the credentials for it. Without an
// address the program starts its own server. Credentials come from files, which are read
// again for every connection, so that they can be replaced while the program runs.
//
// In their path, "{role}" stands for the role of a connection: serve needs publisher,
// reader, doors, keeper and callout; callout needs reader, doors and callout; rebuild
// needs reader.
type Flags struct {
	NATSURL   string `name:"nats-url" help:"NATS server or cluster to use in place of the embedded one, with commas between several; tls:// demands TLS." placeholder:"URL" json:"url"`
	NATSCreds string `name:"nats-creds" help:"Credentials files (.creds) of signoff nats-config; {role} stands for publisher, reader, doors, keeper and callout." placeholder:"FILE" json:"creds,omitempty"`
	NATSCA    string `name:"nats-ca" help:"Certificates of the authorities that the server's certificate is checked against (PEM); default the system's." placeholder:"FILE" json:"ca,omitempty"`
	NATSCert  string `name:"nats-cert" help:"Certificate presented to the server (PEM)." placeholder:"FILE" json:"cert,omitempty"`
	NATSKey   string `name:"nats-key" help:"Its private key (PEM)." placeholder:"FILE" json:"key,omitempty"`

	NATSUser         Gone `name:"nats-user" hidden:"" help:"use --nats-creds 'DIR/{role}.creds' with the files of signoff nats-config" json:"-"`
	NATSPasswordFile Gone `name:"nats-password-file" hidden:"" help:"use --nats-creds 'DIR/{role}.creds' with the files of signoff nats-config" json:"-"`
	NATSTokenFile    Gone `name:"nats-token-file" hidden:"" help:"use --nats-creds 'DIR/{role}.creds' with the files of signoff nats-config" json:"-"`
	NATSNkeyFile     Gone `name:"nats-nkey-file" hidden:"" help:"use --nats-creds 'DIR/{role}.creds' with the files of signoff nats-config" json:"-"`
}

// rolePlaceholder stands for the role of a connection in the path of the credentials.
const rolePlaceholder = "{role}"

// Outside reports whether the program uses an outside NATS server.
func (f Flags) Outside() bool { return f.NATSURL != "" }

// Check returns an error if flags contradict each other, or if they would have the program
// speak plain text to another machine and insecure is false.
func (f Flags) Check(ctx context.Context, insecure bool) error {
	switch {
	case !f.Outside() && f != Flags{}:
		return console.UsageError("--nats-creds, --nats-ca and the other --nats flags of an outside server need --nats-url")
	case !f.Outside():
		return nil
	case f.NATSCreds == "":
		return console.UsageError("--nats-url needs --nats-creds 'DIR/" + rolePlaceholder + ".creds' with the files of signoff nats-config")
	case !strings.Contains(f.NATSCreds, rolePlaceholder):
		return console.UsageError("--nats-creds must contain " + rolePlaceholder + ", because each role has credentials of its own: --nats-creds 'DIR/" + rolePlaceholder + ".creds'")
	case (f.NATSCert == "") != (f.NATSKey == ""):
		return console.UsageError("--nats-cert and --nats-key need each other")
	}
	return f.checkURLs(ctx, insecure)
}

// checkURLs returns an error if a URL is malformed or contains a user, or if the
// connection would be plain text to another machine and insecure is false.
func (f Flags) checkURLs(ctx context.Context, insecure bool) error {
	for _, text := range strings.Split(f.NATSURL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls":
			return console.UsageError("--nats-url must be nats://host:port or tls://host:port, with commas between several")
		case u.User != nil:
			return console.UsageError("--nats-url must contain no user or password, because others can see them: use --nats-creds")
		case insecure || u.Scheme == "tls" || f.NATSCA != "" || f.NATSCert != "":
			// Allowed: with a CA or a certificate, the client uses TLS for nats:// too.
		case !LoopbackOnly(ctx, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222"))):
			return console.UsageError(fmt.Sprintf("--nats-url %s is on another machine and the connection would be plain text: use tls:// or --nats-ca, or --insecure if the network is safe", u))
		}
	}
	return nil
}

// Absolute returns the flags with absolute paths, for serve.json: other commands that read
// it may run in another directory.
func (f Flags) Absolute() (Flags, error) {
	for _, path := range []*string{&f.NATSCreds, &f.NATSCA, &f.NATSCert, &f.NATSKey} {
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

// Reach returns the outside server, to which its Connect opens connections.
func (f Flags) Reach(log *slog.Logger) *natsd.Outside {
	return natsd.Reach(natsd.OutsideConfig{
		URL: f.NATSURL, Options: f.Options, Log: log,
	})
}

// Options returns the options by which a connection for the role authenticates.
func (f Flags) Options(role operator.Role) ([]nats.Option, error) {
	file := strings.ReplaceAll(f.NATSCreds, rolePlaceholder, string(role))
	if err := checkCredentials(file); err != nil {
		return nil, err
	}
	options := []nats.Option{nats.UserCredentials(file)} // reads it for each connection
	if f.NATSCA != "" {
		options = append(options, nats.RootCAs(f.NATSCA))
	}
	if f.NATSCert != "" {
		options = append(options, nats.ClientCert(f.NATSCert, f.NATSKey))
	}
	return options, nil
}

// checkCredentials returns an error that names the file if it contains no credentials.
// Without this check, the server would refuse the login without a reason. The error does
// not quote the file, because that may contain a private key.
func checkCredentials(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the NATS credentials: %w", err)
	}
	key, err := jwt.ParseDecoratedUserNKey(content)
	if err == nil {
		key.Wipe()
		var text string
		if text, err = jwt.ParseDecoratedJWT(content); err == nil {
			_, err = jwt.DecodeUserClaims(text)
		}
	}
	if err != nil {
		return fmt.Errorf("%s holds no credentials of a NATS user; write it again with signoff nats-config", file)
	}
	return nil
}
