package natsd

import (
	"crypto/tls"
	"net/url"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// Node is the part of an outside server's configuration that differs between servers:
// name, addresses, storage and routes to the other servers of its cluster. It includes
// the file that is the same for all, the text of an operator.Preload. With its storage
// settings every acknowledged message is on disk.
type Node struct {
	// Name of the server, unique in its cluster. Required.
	Name string

	// Listen is the host:port for clients. Required.
	Listen string

	// Monitor is the host:port of the server's health check and metrics over HTTP.
	// They need no login, so it should be a loopback address. Empty: there are none.
	Monitor string

	// StoreDir is the directory in which it stores the stream. Required.
	StoreDir string

	// TLS is for connections of clients. Defaults to plain text.
	TLS TLSFiles

	// Cluster is how it connects to the other servers; nil: it is the only one.
	Cluster *Cluster

	// Accounts is the directory in which the server stores accounts. Required.
	Accounts string

	// Include is the path of the file with the text of an operator.Preload,
	// relative to the directory of the node's own file. Required.
	Include string
}

// TLSFiles are PEM files on the server's machine.
type TLSFiles struct {
	Cert, Key string
	CA        string // authorities for the certificates of those that connect
}

// Cluster describes how servers connect to each other.
type Cluster struct {
	Name     string   // the same for all. Required.
	Listen   string   // host:port for the other servers. Required.
	Routes   []string // host:port of each server, its own too. Required.
	User     string   // the same for all. Required.
	Password string   // the same for all. Required.
	TLS      TLSFiles // with CA both sides must show a certificate. Defaults to plain text.
}

// Text returns the node's file in the format of nats-server's configuration. With a
// Cluster the text is a secret: it holds the password with which servers log in to each
// other.
func (n Node) Text() string {
	var w writer
	w.linef("server_name: %s", operator.Quote(n.Name))
	w.linef("listen: %s", operator.Quote(n.Listen))
	if n.Monitor != "" {
		w.linef("http: %s", operator.Quote(n.Monitor))
	}
	w.linef("max_payload: %d", defaultMaxPayload)
	// A callout whose process is stopped or whose machine is gone gets its part of the
	// logins until its connection is closed: after half a minute, by default after minutes.
	w.linef("ping_interval: %s", operator.Quote("10s"))
	w.linef("ping_max: 2")
	w.open("jetstream")
	w.linef("store_dir: %s", operator.Quote(n.StoreDir))
	w.linef("sync_interval: always")
	w.linef("max_file_store: %d", int64(defaultMaxStore))
	w.linef("max_memory_store: %d", maxMemory)
	w.end()
	n.TLS.write(&w, false)
	if n.Cluster != nil {
		n.Cluster.write(&w)
	}
	w.WriteString(operator.Resolver(n.Accounts))
	w.linef("include %q", n.Include) // a plain file name: an escaped character would not be read
	return w.String()
}

// write writes the block "tls", or nothing if there is no certificate. If mutual is set,
// those that connect must show a certificate too.
func (f TLSFiles) write(w *writer, mutual bool) {
	if f.Cert == "" {
		return
	}
	w.open("tls")
	w.linef("cert_file: %s", operator.Quote(f.Cert))
	w.linef("key_file: %s", operator.Quote(f.Key))
	if f.CA != "" {
		w.linef("ca_file: %s", operator.Quote(f.CA))
	}
	if mutual {
		w.linef("verify: true")
	}
	w.linef("min_version: %s", operator.Quote("1.2"))
	w.list("cipher_suites") // of 1.2; those of 1.3 are always used
	for _, suite := range CipherSuites() {
		w.linef("%s", operator.Quote(tls.CipherSuiteName(suite)))
	}
	w.endList()
	w.end()
}

// write writes the block "cluster".
func (c Cluster) write(w *writer) {
	w.open("cluster")
	w.linef("name: %s", operator.Quote(c.Name))
	w.linef("listen: %s", operator.Quote(c.Listen))
	// Clients use the addresses they were configured with. They may not reach those by
	// which the servers know each other.
	w.linef("no_advertise: true")
	w.open("authorization")
	w.linef("user: %s", operator.Quote(c.User))
	w.linef("password: %s", operator.Quote(c.Password))
	w.end()
	w.list("routes")
	for _, address := range c.Routes {
		route := url.URL{Scheme: "nats-route", User: url.UserPassword(c.User, c.Password), Host: address}
		w.linef("%s", operator.Quote(route.String()))
	}
	w.endList()
	c.TLS.write(w, c.TLS.CA != "")
	w.end()
}
