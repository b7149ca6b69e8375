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

// transport is how the listeners prove who they are; nil where they speak
// plain text.
type transport struct {
	API, NATS *Certificate
}

// fingerprints name the certificates that are shown at present.
func (t transport) fingerprints() []string {
	var all []string
	for _, c := range []*Certificate{t.API, t.NATS} {
		if c != nil {
			all = append(all, c.fingerprint())
		}
	}
	return all
}

// openTransport reads the certificates, and refuses to carry tokens and
// patients' data beyond this machine in plain text unless told to.
func (p *Server) openTransport(ctx context.Context) (err error) {
	s := p.Settings
	if p.Transport.API, err = p.openCertificate("--tls-cert", s.TLSCert, "--tls-key", s.TLSKey); err != nil {
		return err
	}
	if p.Transport.NATS, err = p.openCertificate("--nats-tls-cert", s.NATSTLSCert, "--nats-tls-key", s.NATSTLSKey); err != nil {
		return err
	}
	if s.Outside() {
		if p.Transport.NATS != nil {
			return console.UsageError("--nats-tls-cert is for the embedded NATS server; the one that --nats-url names has its own")
		}
		s.NATSListen = "" // not used
	}
	p.warnOfLinks()
	if s.Insecure {
		return nil
	}
	for _, l := range []struct {
		flag, address string
		certificate   *Certificate
		tls           string
	}{
		{"--listen", s.Listen, p.Transport.API, "--tls-cert and --tls-key"},
		{"--ops-listen", s.OpsListen, p.Transport.API, "--tls-cert and --tls-key"},
		{"--nats-listen", s.NATSListen, p.Transport.NATS, "--nats-tls-cert and --nats-tls-key"},
	} {
		if l.certificate == nil && l.address != "" && !natsflags.LoopbackOnly(ctx, l.address) {
			return console.UsageError(fmt.Sprintf("%s %s can be reached from other machines and would speak plain text: give %s, or an address of 127.0.0.1, or --insecure if what stands before it does TLS",
				l.flag, l.address, l.tls))
		}
	}
	return nil
}

// warnOfLinks says so when links in answers would start with an address that
// nobody can call.
func (p *Server) warnOfLinks() {
	host, _, err := net.SplitHostPort(p.Settings.Listen)
	ip, _ := netip.ParseAddr(host)
	if err == nil && (host == "" || ip.IsUnspecified()) && p.Settings.PublicURL == "" {
		p.Log.Warn("links in answers lead to an address of this machine only; say --public-url", "listen", p.Settings.Listen)
	}
}

// openCertificate reads the pair that two flags name, or none.
func (p *Server) openCertificate(certFlag, certFile, keyFlag, keyFile string) (*Certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case keyFile == "":
		return nil, console.UsageError(certFlag + " needs " + keyFlag + ", the file with the certificate's private key")
	case certFile == "":
		return nil, console.UsageError(keyFlag + " needs " + certFlag + ", the file with the key's certificate")
	}
	c, err := loadCertificate(certFile, keyFile, p.Log)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w; both must be PEM files of one pair", certFlag, keyFlag, err)
	}
	c.renewed = func() {
		if p.announced.Load() {
			p.announceAgain()
		}
	}
	return c, nil
}

// configOrPlain is config, or nil for plain text where there is no certificate.
func (c *Certificate) configOrPlain() *tls.Config {
	if c == nil {
		return nil
	}
	return c.config()
}

// opsTLS is the transport of the operator's listener: plain text on loopback,
// where probes and this machine's commands ask, else like the read API.
func (p *Server) opsTLS() *tls.Config {
	if address, ok := p.OpsListener.Addr().(*net.TCPAddr); ok && address.IP.IsLoopback() {
		return nil
	}
	return p.Transport.API.configOrPlain()
}

// scheme is that of a URL.
func scheme(config *tls.Config) string {
	if config == nil {
		return "http://"
	}
	return "https://"
}
