package datadir

import (
	"context"
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
	"strings"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
)

// Serving is the content of serve.json, which describes the running server to other
// commands and to the operator: its addresses and the file of the operator's NATS
// credentials. Only the owner can read serve.json.
type Serving struct {
	PID           int              `json:"pid"`
	Listen        string           `json:"listen"`
	PublicURL     string           `json:"publicUrl"`
	Ops           string           `json:"ops"`
	Desk          string           `json:"desk,omitempty"`          // absent if it is off
	DeskPublicURL string           `json:"deskPublicUrl,omitempty"` // by which PIs call it
	NATS          string           `json:"nats"`
	NATSPublic    string           `json:"natsPublicUrl,omitempty"` // where partners reach it, if elsewhere
	NATSCreds     string           `json:"natsCreds,omitempty"`     // file of the operator's credentials for the embedded server
	Outside       *natsflags.Flags `json:"outside,omitempty"`       // the flags for an outside NATS server

	MaxConsumers int `json:"maxConsumers,omitempty"` // that all partners together may have on NATS

	BasePath     string   `json:"basePath"`               // of the read API
	OpsURL       string   `json:"opsUrl"`                 // scheme and address
	DeskURL      string   `json:"deskUrl,omitempty"`      // likewise
	Certificates []string `json:"certificates,omitempty"` // SHA-256 of those that its listeners present
}

// WriteServeFile replaces serve.json.
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

// RemoveServeFile removes serve.json, if it is there.
func (d Dir) RemoveServeFile() error {
	if err := os.Remove(d.ServeFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Running returns the content of serve.json while a process holds the directory's lock;
// ok is false if none does or there is no such file. The file that a killed server has left
// is ignored while no process holds the lock, and is removed when one takes it.
func (d Dir) Running() (s Serving, ok bool) {
	if !d.Locked() {
		return Serving{}, false
	}
	s, err := d.readServeFile()
	return s, err == nil
}

// Served reports whether a server runs on the directory. Unlike Running it does not need
// serve.json, which is missing while a server starts, or if it could not be written.
func (d Dir) Served() bool {
	if !d.Locked() {
		return false
	}
	holder, err := os.ReadFile(d.lockFile())
	return err != nil || strings.Contains(string(holder), holderOf(ServePurpose))
}

// readServeFile returns the content of serve.json, whether or not that server still runs.
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

// Trusted returns the TLS configuration for connections to the running server. It
// trusts exactly the certificates that serve.json lists, whatever their names and
// issuers. The file is read during the handshake, because the server may have begun
// to present another certificate a moment ago.
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
				return errors.New("the certificate presented is not that of the server on " + string(d))
			}
			return nil
		},
	}
}

// Get requests a URL of the running server and returns the answer, whatever its status.
func (d Dir) Get(ctx context.Context, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: d.Trusted(), DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// Fingerprint returns the SHA-256 of a DER certificate in hexadecimal.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
