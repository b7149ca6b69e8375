package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// serving is what a running server says of itself in serve.json, for the
// commands beside it and for the operator: real addresses and the operator's
// NATS credentials. Readable by the owner only.
type serving struct {
	PID          int        `json:"pid"`
	Listen       string     `json:"listen"`
	PublicURL    string     `json:"publicUrl"`
	Ops          string     `json:"ops"`
	NATS         string     `json:"nats"`
	NATSPublic   string     `json:"natsPublicUrl,omitempty"` // where partners reach it, if not there
	NATSUser     string     `json:"natsUser"`
	NATSPassword string     `json:"natsPassword"`
	Outside      *natsFlags `json:"outside,omitempty"` // how to reach a NATS server that runs elsewhere

	MaxConsumers int `json:"maxConsumers,omitempty"` // that partners may have on NATS

	BasePath     string   `json:"basePath"`               // of the read API
	OpsURL       string   `json:"opsUrl"`                 // scheme and address
	Certificates []string `json:"certificates,omitempty"` // SHA-256 of those its listeners show
}

func (d dataDir) announce(s serving) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(d.serveFile(), append(content, '\n')); err != nil {
		return fmt.Errorf("write serve.json: %w", err)
	}
	return nil
}

// retract removes what announce has written, if it was.
func (d dataDir) retract() error {
	if err := os.Remove(d.serveFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// running returns what a server running on the directory says of itself; ok is
// false where none is running. A file left by a killed server does not count:
// its process no longer holds the lock.
func (d dataDir) running() (s serving, ok bool) {
	if !d.locked() {
		return serving{}, false
	}
	s, err := d.readServing()
	return s, err == nil
}

func (d dataDir) readServing() (s serving, err error) {
	content, err := os.ReadFile(d.serveFile())
	if err == nil {
		err = json.Unmarshal(content, &s)
	}
	if err != nil {
		return serving{}, fmt.Errorf("read serve.json: %w", err)
	}
	return s, nil
}
