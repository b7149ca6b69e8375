package subscriber

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/seed-e88a4ece/signoff/events"
)

// Credentials are a partner's client credentials, and where to get an access token
// for them.
type Credentials struct {
	TokenURL string // of the publisher's token endpoint
	ClientID string // the partner's id

	// Secret returns the client secret. It is called for each access token, so that
	// a rotated secret is used without a restart.
	Secret func() (string, error)
}

// Secret returns a function that always returns the same secret.
func Secret(secret string) func() (string, error) {
	return func() (string, error) { return secret, nil }
}

// SecretFile returns a function that reads the secret from a file each time it is
// needed. White space around it is removed.
func SecretFile(path string) func() (string, error) {
	return func() (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("read the client secret: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
		if err != nil {
			return "", fmt.Errorf("read the client secret: %w", err)
		}
		return string(bytes.TrimSpace(text)), nil
	}
}

const maxSecret = 4 << 10 // bytes

// validate checks what can be checked without the publisher. Insecure permits to send the
// secret in clear.
func (c Credentials) validate(insecure bool) error {
	if !events.ValidPartnerID(c.ClientID) {
		return events.Fieldf("client id", "must be 1 to 64 of A-Z, a-z, 0-9, - and _, as the publisher assigned it")
	}
	if c.Secret == nil {
		return events.Errorf(events.Required, "a client secret is required; set Credentials.Secret, for example to SecretFile(path)")
	}
	u, err := url.Parse(c.TokenURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return events.Fieldf("token URL", "must be an absolute URL that starts with https://")
	}
	if u.User != nil || u.Fragment != "" {
		return events.Fieldf("token URL", "must contain neither a password nor a fragment; remove it")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) && !insecure {
		return events.Fieldf("token URL", "would send the client secret in clear to %s; use https://, or set PartnerConfig.Insecure", u.Host)
	}
	return nil
}

// servers checks the addresses of NATS servers, separated by commas, and reports
// whether all of them are on this machine.
func servers(text string) (local bool, err error) {
	local = true
	for address := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil || u.Host == "" {
			return false, events.Fieldf("NATS URL", "must be tls://host:port, or several of these separated by commas")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return false, events.Fieldf("NATS URL", "must start with tls://, nats://, wss:// or ws://")
		}
		if u.User != nil {
			return false, events.Fieldf("NATS URL", "must contain no user, password or token; the client requests the access token itself")
		}
		local = local && loopback(u.Hostname())
	}
	return local, nil
}

// loopback reports whether what is sent to the host stays on this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
