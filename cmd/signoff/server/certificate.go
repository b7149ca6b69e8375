package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// certificate is a certificate chain and its private key, each in a PEM file. It follows
// changes of the files without a restart: a handshake checks them, at most once a second.
// If the new pair cannot be used, because one of the files is not replaced yet, is damaged
// or cannot be read, the previous pair stays in use, the error is logged once, and the next
// check reads the files again.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	clock             func() time.Time
	renewed           func() // called when another pair is read, before get returns it

	current atomic.Pointer[tls.Certificate]

	mu      sync.Mutex
	checked time.Time      // when the files were last checked
	seen    [2]os.FileInfo // the files when they were last read; zero if that failed
	failed  string         // the error of that check; empty for none
}

// checkEvery is the time between two checks of the files.
const checkEvery = time.Second

// loadCertificate reads the files.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, clock: time.Now, renewed: func() {}}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// config returns the TLS configuration of a listener that presents the certificate.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   natsd.CipherSuites(), // of 1.2
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}
}

// get returns the pair to present now. If the last check was a second ago or more, or the
// clock was set back since, it checks the files first.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock(); now.Sub(c.checked) >= checkEvery || now.Before(c.checked) {
		failed := ""
		if err := c.reload(); err != nil {
			if failed = err.Error(); failed != c.failed {
				c.log.Error("the new certificate cannot be used; the previous one stays in use", "error", err)
			}
		}
		c.failed = failed
	}
	return c.current.Load()
}

// reload reads the files if they have changed since they were last read without an error. It
// records the state of the files before it reads them, so that a change while they are read is
// found at the next check.
func (c *certificate) reload() error {
	c.checked = c.clock()
	seen, err := c.stat()
	if err == nil && sameFile(seen[0], c.seen[0]) && sameFile(seen[1], c.seen[1]) {
		return nil
	}
	c.seen = [2]os.FileInfo{}
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.seen = seen
	before := c.current.Swap(&pair)
	log := c.log.With("file", c.certFile, "names", pair.Leaf.DNSNames, "until", pair.Leaf.NotAfter)
	if c.checked.After(pair.Leaf.NotAfter) {
		log.Warn("the certificate has expired")
	}
	if before != nil {
		log.Info("the new certificate is in use")
		c.renewed()
	}
	return nil
}

// stat returns the state of both files, and the zero value if one of them is missing.
func (c *certificate) stat() (seen [2]os.FileInfo, err error) {
	for i, file := range []string{c.certFile, c.keyFile} {
		if seen[i], err = os.Stat(file); err != nil {
			return [2]os.FileInfo{}, fmt.Errorf("certificate and key: %w", err)
		}
	}
	return seen, nil
}

// sameFile reports whether a and b, which may be nil, are states of an unchanged file.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// fingerprint returns the fingerprint of the certificate that is presented now.
func (c *certificate) fingerprint() string {
	return datadir.Fingerprint(c.current.Load().Certificate[0])
}
