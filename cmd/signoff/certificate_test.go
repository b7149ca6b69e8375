package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pairFiles are a certificate and a key in files.
type pairFiles struct{ cert, key string }

func newPairFiles(t *testing.T) pairFiles {
	t.Helper()
	dir := t.TempDir()
	f := pairFiles{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	f.write(t, newPair(t))
	return f
}

func (f pairFiles) write(t *testing.T, p pair) {
	t.Helper()
	f.writeCert(t, p.cert)
	f.writeKey(t, p.key)
}

// writeCert and writeKey replace a file whole, as those who renew do.
func (f pairFiles) writeCert(t *testing.T, content []byte) { t.Helper(); replace(t, f.cert, content) }
func (f pairFiles) writeKey(t *testing.T, content []byte)  { t.Helper(); replace(t, f.key, content) }

func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := writeFile(path, content); err != nil {
		t.Fatal(err)
	}
}

// pair is a self-signed certificate for 127.0.0.1 and its key, in PEM.
type pair struct {
	cert, key []byte
	leaf      *x509.Certificate
}

func newPair(t *testing.T) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "signoff test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		leaf: leaf,
	}
}

// trusting trusts the certificates and no other.
func trusting(pairs ...pair) *tls.Config {
	roots := x509.NewCertPool()
	for _, p := range pairs {
		roots.AddCert(p.leaf)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func TestACertificateIsTakenUpWhenItsFilesChange(t *testing.T) {
	first, second, third := newPair(t), newPair(t), newPair(t)
	files := newPairFiles(t)
	files.write(t, first)
	var log bytes.Buffer
	c, err := loadCertificate(files.cert, files.key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.clock = func() time.Time { return now }
	renewed := 0
	c.renewed = func() { renewed++ }
	shows := func(when string, want pair) {
		t.Helper()
		now = now.Add(lookEvery)
		if !c.get().Leaf.Equal(want.leaf) {
			t.Errorf("%s: another certificate is shown", when)
		}
	}
	shows("at first", first)
	files.write(t, second)
	if !c.get().Leaf.Equal(first.leaf) {
		t.Error("the files are looked at more than once a second")
	}
	shows("a second later", second)

	files.writeCert(t, third.cert)
	for range 3 {
		shows("with half of the new pair there", second)
	}
	files.writeKey(t, third.key)
	shows("with all of it there", third)

	files.writeCert(t, []byte("no certificate"))
	shows("with a broken one", third)
	if err := os.Remove(files.cert); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		shows("with none", third)
	}
	files.write(t, first)
	shows("with a good one again", first)
	if said := strings.Count(log.String(), "cannot be used"); said != 3 {
		t.Errorf("of three things that were wrong the log says %d:\n%s", said, log.String())
	}
	if renewed != 3 {
		t.Errorf("%d certificates were taken up, want 3", renewed)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log holds the key")
	}
}

func TestACertificateThatHasExpiredIsSaid(t *testing.T) {
	files := newPairFiles(t)
	var log bytes.Buffer
	c, err := loadCertificate(files.cert, files.key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Fatalf("the log says %s", log.String())
	}
	files.write(t, newPair(t))
	c.clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	c.get()
	if !strings.Contains(log.String(), "expired") {
		t.Errorf("the log says %s", log.String())
	}
}
