package natsd

import (
	"net/url"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// Node is what a server has for itself beside the file that it shares
// with the others of its cluster: name, addresses, storage, in which every
// acknowledged message is on disk, and the way to the other servers.
type Node struct {
	// Name of the server, unique in its cluster. Required.
	Name string

	// Listen is the host:port for clients. Required.
	Listen string

	// Monitor is the host:port of the server's own health check and figures.
	// Empty: there is none. It asks nobody for a password: keep it on loopback.
	Monitor string

	// StoreDir is where it keeps its files. Required.
	StoreDir string

	// TLS is for connections of clients. Defaults to plain text.
	TLS TLSFiles

	// Cluster is how it finds the other servers; nil: there is none.
	Cluster *Cluster

	// Accounts is the directory in which the server stores accounts. Required.
	Accounts string

	// Include is the file with the text of an operator.Preload, relative to that
	// of the node. Required.
	Include string
}

// TLSFiles are PEM files on the server's machine.
type TLSFiles struct {
	Cert, Key string
	CA        string // who vouches for those that connect
}

// Cluster describes how servers connect to each other.
type Cluster struct {
	Name     string   // the same for all. Required.
	Listen   string   // host:port for the other servers. Required.
	Routes   []string // host:port of each server, its own too. Required.
	User     string   // the same for all. Required.
	Password string   // the same for all. Required.
	TLS      TLSFiles // with CA: both sides show a certificate. Defaults to plain text.
}

// Text is the node's file in the form that nats-server reads. With a Cluster it
// holds the password of the routes, which each server shows to the others.
func (n Node) Text() string {
	var w writer
	w.linef("server_name: %s", quote(n.Name))
	w.linef("listen: %s", quote(n.Listen))
	if n.Monitor != "" {
		w.linef("http: %s", quote(n.Monitor))
	}
	w.linef("max_payload: %d", defaultMaxPayload)
	w.open("jetstream")
	w.linef("store_dir: %s", quote(n.StoreDir))
	w.linef("sync_interval: always")
	w.linef("max_file_store: %d", int64(defaultMaxStore))
	w.linef("max_memory_store: %d", maxMemory)
	w.end()
	n.TLS.write(&w, false)
	if n.Cluster != nil {
		n.Cluster.write(&w)
	}
	w.WriteString(operator.Resolver(n.Accounts))
	w.linef("include %s", quote(n.Include))
	return w.String()
}

func (f TLSFiles) write(w *writer, mutual bool) {
	if f.Cert == "" {
		return
	}
	w.open("tls")
	w.linef("cert_file: %s", quote(f.Cert))
	w.linef("key_file: %s", quote(f.Key))
	if f.CA != "" {
		w.linef("ca_file: %s", quote(f.CA))
	}
	if mutual {
		w.linef("verify: true")
	}
	w.linef("min_version: %s", quote("1.2"))
	w.end()
}

func (c Cluster) write(w *writer) {
	w.open("cluster")
	w.linef("name: %s", quote(c.Name))
	w.linef("listen: %s", quote(c.Listen))
	// Clients use the addresses they were configured with: those by which the servers
	// know each other may not be theirs.
	w.linef("no_advertise: true")
	w.open("authorization")
	w.linef("user: %s", quote(c.User))
	w.linef("password: %s", quote(c.Password))
	w.end()
	w.list("routes")
	for _, address := range c.Routes {
		route := url.URL{Scheme: "nats-route", User: url.UserPassword(c.User, c.Password), Host: address}
		w.linef("%s", quote(route.String()))
	}
	w.endList()
	c.TLS.write(w, c.TLS.CA != "")
	w.end()
}
