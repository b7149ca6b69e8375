package datadir

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
)

// Serving is what a running server says of itself in serve.json, for the
// commands beside it and for the operator: real addresses and the operator's
// NATS credentials. Readable by the owner only.
type Serving struct {
	PID          int              `json:"pid"`
	Listen       string           `json:"listen"`
	PublicURL    string           `json:"publicUrl"`
	Ops          string           `json:"ops"`
	NATS         string           `json:"nats"`
	NATSPublic   string           `json:"natsPublicUrl,omitempty"` // where partners reach it, if not there
	NATSUser     string           `json:"natsUser"`
	NATSPassword string           `json:"natsPassword"`
	Outside      *natsflags.Flags `json:"outside,omitempty"` // how to reach a NATS server that runs elsewhere

	MaxConsumers int `json:"maxConsumers,omitempty"` // that partners may have on NATS

	BasePath     string   `json:"basePath"`               // of the read API
	OpsURL       string   `json:"opsUrl"`                 // scheme and address
	Certificates []string `json:"certificates,omitempty"` // SHA-256 of those its listeners show
}

func (d Dir) WriteServeFile(s Serving) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := WriteFile(d.ServeFile(), append(content, '\n')); err != nil {
		return fmt.Errorf("write serve.json: %w", err)
	}
	return nil
}

// RemoveServeFile removes what announce has written, if it was.
func (d Dir) RemoveServeFile() error {
	if err := os.Remove(d.ServeFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Running returns what a server running on the directory says of itself; ok is
// false where none is running. A file left by a killed server does not count:
// its process no longer holds the lock.
func (d Dir) Running() (s Serving, ok bool) {
	if !d.Locked() {
		return Serving{}, false
	}
	s, err := d.readServeFile()
	return s, err == nil
}

func (d Dir) readServeFile() (s Serving, err error) {
	content, err := os.ReadFile(d.ServeFile())
	if err == nil {
		err = json.Unmarshal(content, &s)
	}
	if err != nil {
		return Serving{}, fmt.Errorf("read serve.json: %w", err)
	}
	return s, nil
}

// Trusted is for the commands beside a running server: they trust exactly the
// certificates that serve.json names, whatever names are in them and whoever
// signed them. The file is read during the handshake, because the server may
// have taken up another certificate a moment ago.
func (d Dir) Trusted() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter
		VerifyConnection: func(state tls.ConnectionState) error {
			s, err := d.readServeFile()
			if err != nil {
				return err
			}
			if !slices.Contains(s.Certificates, Fingerprint(state.PeerCertificates[0].Raw)) {
				return errors.New("who answers is not the server on " + string(d))
			}
			return nil
		},
	}
}

// Client calls the running server.
func (d Dir) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: d.Trusted(), DisableKeepAlives: true}}
}

// Fingerprint returns the SHA-256 of a certificate in DER, in hexadecimal.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func DoWith(client *http.Client, req *http.Request) (status int, body []byte, err error) {
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}
