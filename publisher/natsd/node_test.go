package natsd_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func configure(t *testing.T) brokertest.Operation { return brokertest.NewOperation(t, t.TempDir()) }

// node writes the files of a server into dir and starts it from them.
func node(t *testing.T, dir string, c brokertest.Operation, n natsd.Node) *server.Server {
	t.Helper()
	n.Include, n.Accounts = brokertest.OperatorFile, filepath.Join(n.StoreDir, "jwt")
	file := filepath.Join(dir, n.Name+".conf")
	brokertest.Write(t, filepath.Join(dir, n.Include), c.Preload.Text())
	brokertest.Write(t, file, n.Text())
	return brokertest.StartNode(t, file)
}

func TestANodeOfAClusterOverTLS(t *testing.T) {
	example := httptest.NewTLSServer(nil) // for its certificate
	example.Close()
	private, err := x509.MarshalPKCS8PrivateKey(example.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := natsd.TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "cert.pem")}
	for path, block := range map[string]*pem.Block{
		files.Cert: {Type: "CERTIFICATE", Bytes: example.Certificate().Raw}, files.Key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := natsd.Node{
		Name: "one", Listen: "127.0.0.1:4222", Monitor: "127.0.0.1:8222", StoreDir: dir, TLS: natsd.TLSFiles{Cert: files.Cert, Key: files.Key}, Accounts: filepath.Join(dir, "jwt"), Include: "operator.conf",
		Cluster: &natsd.Cluster{Name: "signoff", Listen: "127.0.0.1:6222", Routes: []string{"one:6222", "two:6222"}, User: "route", Password: "p@:/ss", TLS: files},
	}
	for name, content := range map[string]string{"operator.conf": configure(t).Preload.Text(), "one.conf": n.Text()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "one.conf"))
	if err != nil {
		t.Fatal(err)
	}
	defer opts.AccountResolver.Close()
	// A callout that is stopped gets logins until its connection is closed.
	if silence := opts.PingInterval * time.Duration(opts.MaxPingsOut+1); silence <= 0 || silence > 30*time.Second {
		t.Errorf("a connection is closed after %s without an answer", silence)
	}
	if opts.TLSConfig == nil || opts.TLSConfig.ClientAuth != tls.NoClientCert {
		t.Errorf("clients: %+v", opts.TLSConfig)
	}
	if opts.Cluster.TLSConfig == nil || opts.Cluster.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Errorf("servers: %+v", opts.Cluster.TLSConfig)
	}
	for who, config := range map[string]*tls.Config{"clients": opts.TLSConfig, "servers": opts.Cluster.TLSConfig} {
		if len(config.CipherSuites) == 0 {
			t.Errorf("%s may use every suite", who)
		}
		for _, suite := range config.CipherSuites {
			if name := tls.CipherSuiteName(suite); strings.Contains(name, "_CBC_") {
				t.Errorf("%s may use %s", who, name)
			}
		}
	}
	if password, _ := opts.Routes[1].User.Password(); opts.Routes[1].Host != "two:6222" || password != "p@:/ss" || !opts.SyncAlways {
		t.Errorf("route %s, always synced: %t", opts.Routes[1].Host, opts.SyncAlways)
	}
}

// FuzzNodeText: whatever is in a name or a path comes back as it was.
func FuzzNodeText(f *testing.F) {
	f.Add("one", "/data", "p@ss:w/rd")
	f.Add(`a "b" \ $c`, "tab\tline\nreturn\r", "$2a$x")
	f.Fuzz(func(t *testing.T, name, dir, secret string) {
		n := natsd.Node{Name: name, Listen: "a:1", StoreDir: dir, Accounts: dir, Include: "testdata/empty.conf", Cluster: &natsd.Cluster{Name: name, Password: secret}}
		file := filepath.Join(t.TempDir(), "node.conf")
		included := filepath.Join(filepath.Dir(file), "testdata", "empty.conf")
		if err := errors.Join(os.Mkdir(filepath.Dir(included), 0o700), os.WriteFile(included, []byte("a: 1\n"), 0o600), os.WriteFile(file, []byte(n.Text()), 0o600)); err != nil {
			t.Fatal(err)
		}
		got, err := conf.ParseFile(file)
		if err != nil {
			t.Fatalf("%v in\n%s", err, n.Text())
		}
		store := got["jetstream"].(map[string]any)["store_dir"]
		password := got["cluster"].(map[string]any)["authorization"].(map[string]any)["password"]
		accounts := got["resolver"].(map[string]any)["dir"]
		if got["server_name"] != name || accounts != dir || store != dir || password != secret {
			t.Errorf("%q, %q, %q came back as %q, %q, %q", name, dir, secret, got["server_name"], store, password)
		}
	})
}
