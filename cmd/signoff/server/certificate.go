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
)

// Certificate is a certificate chain and its private key, each in a PEM file.
// Files that change are taken up without a restart: a handshake looks at them,
// at most once a second. A pair that cannot be used, because only one of the
// files is new as yet or because it is broken, is said in the log, once, and
// the pair before it stays.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	Clock             func() time.Time
	renewed           func() // after another pair is taken up, before it is shown to anyone

	current atomic.Pointer[tls.Certificate]

	Mu     sync.Mutex
	looked time.Time
	seen   [2]os.FileInfo // the files when they were last read
}

// LookEvery is the time between two looks at the files.
const LookEvery = time.Second

// loadCertificate reads the pair.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, Clock: time.Now, renewed: func() {}}
	if err := c.look(); err != nil {
		return nil, err
	}
	return c, nil
}

// config is for a listener that shows the certificate.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}
}

// get returns the pair to show now.
func (c *Certificate) get() *tls.Certificate {
	c.Mu.Lock()
	defer c.Mu.Unlock()
	if now := c.Clock(); now.Sub(c.looked) >= LookEvery || now.Before(c.looked) {
		if err := c.look(); err != nil {
			c.log.Error("the new certificate cannot be used; the one before stays", "error", err)
		}
	}
	return c.current.Load()
}

// look reads the files if they are others than last time. The time of the look
// and the state of the files are noted first: what changes while they are read
// is read again.
func (c *Certificate) look() error {
	c.looked = c.Clock()
	seen, err := c.stat()
	if err != nil {
		if c.seen == [2]os.FileInfo{} && c.current.Load() != nil {
			return nil // said before
		}
		c.seen = seen
		return err
	}
	if sameFile(seen[0], c.seen[0]) && sameFile(seen[1], c.seen[1]) {
		return nil
	}
	c.seen = seen
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	before := c.current.Swap(&pair)
	log := c.log.With("file", c.certFile, "names", pair.Leaf.DNSNames, "until", pair.Leaf.NotAfter)
	if c.looked.After(pair.Leaf.NotAfter) {
		log.Warn("the certificate has expired")
	}
	if before != nil {
		log.Info("took up the new certificate")
		c.renewed()
	}
	return nil
}

func (c *Certificate) stat() (seen [2]os.FileInfo, err error) {
	for i, file := range []string{c.certFile, c.keyFile} {
		if seen[i], err = os.Stat(file); err != nil { //nolint:gosec // a file that the operator names
			return [2]os.FileInfo{}, fmt.Errorf("certificate and key: %w", err)
		}
	}
	return seen, nil
}

// sameFile compares a file with what it was.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// fingerprint is how serve.json names the certificate shown at present.
func (c *Certificate) fingerprint() string {
	return datadir.Fingerprint(c.current.Load().Certificate[0])
}
