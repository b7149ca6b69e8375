// Package testcert makes certificates for tests.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
)

// Files are the paths of a certificate and its key.
type Files struct{ Cert, Key string }

// NewFiles writes a new pair to files in a temporary directory.
func NewFiles(t *testing.T) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	f.Write(t, NewPair(t))
	return f
}

// Write replaces both files.
func (f Files) Write(t *testing.T, p Pair) {
	t.Helper()
	f.WriteCert(t, p.Cert)
	f.WriteKey(t, p.Key)
}

// WriteCert replaces the certificate's file as a whole.
func (f Files) WriteCert(t *testing.T, content []byte) { t.Helper(); replace(t, f.Cert, content) }

// WriteKey replaces the key's file as a whole.
func (f Files) WriteKey(t *testing.T, content []byte) { t.Helper(); replace(t, f.Key, content) }

// replace replaces a file as a whole, or fails the test.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := datadir.WriteFile(path, content); err != nil {
		t.Fatal(err)
	}
}

// Pair is a self-signed certificate for 127.0.0.1 and its key, in PEM.
type Pair struct {
	Cert, Key []byte
	Leaf      *x509.Certificate
}

// NewPair makes a pair.
func NewPair(t *testing.T) Pair {
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
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		Leaf: leaf,
	}
}

// Trusting returns a client configuration that trusts the certificates of the pairs only.
func Trusting(pairs ...Pair) *tls.Config {
	roots := x509.NewCertPool()
	for _, p := range pairs {
		roots.AddCert(p.Leaf)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
