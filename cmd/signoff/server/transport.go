package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
)

// transport holds the certificates of the read API and of the embedded NATS server; nil
// means plain text.
type transport struct {
	api, nats *certificate
}

// fingerprints returns the fingerprints of the certificates that are presented now.
func (t transport) fingerprints() []string {
	var all []string
	for _, c := range []*certificate{t.api, t.nats} {
		if c != nil {
			all = append(all, c.fingerprint())
		}
	}
	return all
}

// openTransport reads the certificates. Unless --insecure is set, it returns a UsageError
// if a listener would speak plain text on an address that other machines can reach, because
// access tokens and patients' data would travel unprotected.
func (p *Server) openTransport(ctx context.Context) (err error) {
	s := p.Settings
	if p.transport.api, err = p.openCertificate("--tls-cert", s.TLSCert, "--tls-key", s.TLSKey); err != nil {
		return err
	}
	if p.transport.nats, err = p.openCertificate("--nats-tls-cert", s.NATSTLSCert, "--nats-tls-key", s.NATSTLSKey); err != nil {
		return err
	}
	if s.Outside() {
		if p.transport.nats != nil {
			return console.UsageError("--nats-tls-cert is for the embedded NATS server; remove it, because --nats-url names an outside one")
		}
		s.NATSListen = "" // not used
	}
	for _, l := range []struct {
		flag, address string
		certificate   *certificate
		tls           string
	}{
		{"--listen", s.Listen, p.transport.api, "--tls-cert and --tls-key"},
		{"--ops-listen", s.OpsListen, p.transport.api, "--tls-cert and --tls-key"},
		{"--desk-listen", s.DeskListen, p.transport.api, "--tls-cert and --tls-key"},
		{"--nats-listen", s.NATSListen, p.transport.nats, "--nats-tls-cert and --nats-tls-key"},
	} {
		if !s.Insecure && l.certificate == nil && l.address != "" && !natsflags.LoopbackOnly(ctx, l.address) {
			return console.UsageError(fmt.Sprintf("%s %s can be reached from other machines and would speak plain text: use %s, or an address of 127.0.0.1, or --insecure if a proxy before it does TLS",
				l.flag, l.address, l.tls))
		}
	}
	p.warnOfLinks()
	return p.checkDesk(ctx)
}

// warnOfLinks logs a warning if links in answers would start with an address that other
// machines cannot call.
func (p *Server) warnOfLinks() {
	host, _, err := net.SplitHostPort(p.Settings.Listen)
	ip, _ := netip.ParseAddr(host)
	if err == nil && (host == "" || ip.IsUnspecified()) && p.Settings.PublicURL == "" {
		p.log.Warn("links in answers start with an address of this machine only; set --public-url", "listen", p.Settings.Listen)
	}
}

// openCertificate reads the certificate and key that two flags name. It returns nil if
// neither is set. When the certificate is replaced later, serve.json is written again,
// because it has the fingerprint.
func (p *Server) openCertificate(certFlag, certFile, keyFlag, keyFile string) (*certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case keyFile == "":
		return nil, console.UsageError(certFlag + " needs " + keyFlag + ", the file with the certificate's private key")
	case certFile == "":
		return nil, console.UsageError(keyFlag + " needs " + certFlag + ", the file with the key's certificate")
	}
	c, err := loadCertificate(certFile, keyFile, p.log)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w; both must be PEM files of one pair", certFlag, keyFlag, err)
	}
	c.renewed = func() {
		if p.keepServeFile.Load() { // not before Run has written it, nor after it was removed
			p.writeServeFile()
		}
	}
	return c, nil
}

// configOrPlain returns the TLS configuration, or nil for plain text if there is no
// certificate.
func (c *certificate) configOrPlain() *tls.Config {
	if c == nil {
		return nil
	}
	return c.config()
}

// opsTLS returns the TLS configuration of the operator's listener. On a loopback address it
// is nil, that is, plain text, for probes and commands on this machine. Otherwise it is that
// of the read API.
func (p *Server) opsTLS() *tls.Config {
	if address, ok := p.OpsListener.Addr().(*net.TCPAddr); ok && address.IP.IsLoopback() {
		return nil
	}
	return p.transport.api.configOrPlain()
}

// scheme returns the start of an HTTP URL, https:// unless config is nil.
func scheme(config *tls.Config) string {
	if config == nil {
		return "http://"
	}
	return "https://"
}
