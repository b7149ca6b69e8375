package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
)

// transport is how the listeners prove who they are; nil where they speak
// plain text.
type transport struct {
	api, nats *certificate
}

// fingerprints name the certificates that are shown at present.
func (t transport) fingerprints() []string {
	var all []string
	for _, c := range []*certificate{t.api, t.nats} {
		if c != nil {
			all = append(all, c.fingerprint())
		}
	}
	return all
}

// openTransport reads the certificates, and refuses to carry tokens and
// patients' data beyond this machine in plain text unless told to.
func (p *program) openTransport(ctx context.Context) (err error) {
	s := p.settings
	if p.transport.api, err = p.openCertificate("--tls-cert", s.TLSCert, "--tls-key", s.TLSKey); err != nil {
		return err
	}
	if p.transport.nats, err = p.openCertificate("--nats-tls-cert", s.NATSTLSCert, "--nats-tls-key", s.NATSTLSKey); err != nil {
		return err
	}
	if s.outside() {
		if p.transport.nats != nil {
			return usageError("--nats-tls-cert is for the embedded NATS server; the one that --nats-url names has its own")
		}
		s.NATSListen = "" // not used
	}
	p.warnOfLinks()
	if s.Insecure {
		return nil
	}
	for _, l := range []struct {
		flag, address string
		certificate   *certificate
		tls           string
	}{
		{"--listen", s.Listen, p.transport.api, "--tls-cert and --tls-key"},
		{"--ops-listen", s.OpsListen, p.transport.api, "--tls-cert and --tls-key"},
		{"--nats-listen", s.NATSListen, p.transport.nats, "--nats-tls-cert and --nats-tls-key"},
	} {
		if l.certificate == nil && l.address != "" && !loopbackOnly(ctx, l.address) {
			return usageError(fmt.Sprintf("%s %s can be reached from other machines and would speak plain text: give %s, or an address of 127.0.0.1, or --insecure if what stands before it does TLS",
				l.flag, l.address, l.tls))
		}
	}
	return nil
}

// warnOfLinks says so when links in answers would start with an address that
// nobody can call.
func (p *program) warnOfLinks() {
	host, _, err := net.SplitHostPort(p.settings.Listen)
	ip, _ := netip.ParseAddr(host)
	if err == nil && (host == "" || ip.IsUnspecified()) && p.settings.PublicURL == "" {
		p.log.Warn("links in answers lead to an address of this machine only; say --public-url", "listen", p.settings.Listen)
	}
}

// openCertificate reads the pair that two flags name, or none.
func (p *program) openCertificate(certFlag, certFile, keyFlag, keyFile string) (*certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case keyFile == "":
		return nil, usageError(certFlag + " needs " + keyFlag + ", the file with the certificate's private key")
	case certFile == "":
		return nil, usageError(keyFlag + " needs " + certFlag + ", the file with the key's certificate")
	}
	c, err := loadCertificate(certFile, keyFile, p.log)
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
func (c *certificate) configOrPlain() *tls.Config {
	if c == nil {
		return nil
	}
	return c.config()
}

// opsTLS is the transport of the operator's listener: plain text on loopback,
// where probes and this machine's commands ask, else like the read API.
func (p *program) opsTLS() *tls.Config {
	if address, ok := p.opsListener.Addr().(*net.TCPAddr); ok && address.IP.IsLoopback() {
		return nil
	}
	return p.transport.api.configOrPlain()
}

// loopbackOnly reports whether an address can be reached from this machine
// only. A malformed one is left to who listens on it.
func loopbackOnly(ctx context.Context, address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true
	}
	if host == "" {
		return false
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return err == nil && len(ips) > 0 && !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !ip.Unmap().IsLoopback() })
}

// scheme is that of a URL.
func scheme(config *tls.Config) string {
	if config == nil {
		return "http://"
	}
	return "https://"
}

// trusted is for the commands beside a running server: they trust exactly the
// certificates that serve.json names, whatever names are in them and whoever
// signed them. The file is read during the handshake, because the server may
// have taken up another certificate a moment ago.
func (d dataDir) trusted() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter
		VerifyConnection: func(state tls.ConnectionState) error {
			s, err := d.readServing()
			if err != nil {
				return err
			}
			if !slices.Contains(s.Certificates, fingerprint(state.PeerCertificates[0].Raw)) {
				return errors.New("who answers is not the server on " + string(d))
			}
			return nil
		},
	}
}

// client calls the running server.
func (d dataDir) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: d.trusted(), DisableKeepAlives: true}}
}
