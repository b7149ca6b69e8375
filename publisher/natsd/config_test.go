package natsd_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// configuration is one with an issuer and credentials of its own.
func configuration(t *testing.T, partners ...tenancy.Account) natsd.Configuration {
	t.Helper()
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := natsd.NewCredentials()
	if err != nil {
		t.Fatal(err)
	}
	return natsd.Configuration{Credentials: credentials, LoginIssuer: public, Partners: partners}
}

func text(t *testing.T, c natsd.Configuration) string {
	t.Helper()
	all, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// node writes the files of a server into dir and starts it from them, as
// nats-server does.
func node(t *testing.T, dir string, c natsd.Configuration, n natsd.Node) *server.Server {
	t.Helper()
	n.Include = "accounts.conf"
	for name, content := range map[string]string{"accounts.conf": text(t, c), n.Name + ".conf": n.Text()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, n.Name+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s
}

func alone(t *testing.T, c natsd.Configuration) *server.Server {
	t.Helper()
	return node(t, t.TempDir(), c, natsd.Node{Name: "one", Listen: "127.0.0.1:-1", StoreDir: t.TempDir()})
}

// shown is what a server says of an account that does not depend on when it was
// made.
func shown(t *testing.T, nc *nats.Conn, account string) map[string]any {
	t.Helper()
	answer, err := nc.Request("$SYS.REQ.ACCOUNT."+account+".INFO", nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Data map[string]any }
	if err := json.Unmarshal(answer.Data, &info); err != nil || info.Data == nil {
		t.Fatalf("%s, %v", answer.Data, err)
	}
	all := make(map[string]any)
	for _, key := range []string{"jetstream_enabled", "imports", "exports", "mappings"} {
		list, ok := info.Data[key].([]any)
		if !ok {
			all[key] = info.Data[key]
			continue
		}
		var lines []string
		for _, item := range list {
			if export, ok := item.(map[string]any); ok { // its accounts come in any order
				if accounts, ok := export["approved_accounts"].([]any); ok {
					slices.SortFunc(accounts, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
				}
			}
			line, err := json.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		slices.Sort(lines)
		all[key] = lines
	}
	return all
}

func TestAServerUnderTheConfigurationIsLikeTheEmbeddedOne(t *testing.T) {
	partners := []tenancy.Account{
		tenancy.AccountOf("acme", []string{"S", "T"}, limits),
		tenancy.AccountOf("other", []string{"S"}, limits),
		tenancy.AccountOf("nothing", nil, limits),
	}
	embedded := newLoginServer(t)
	for _, a := range partners {
		if err := embedded.SetAccount(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	c := configuration(t, partners...)
	outside := alone(t, c)
	keeper := c.Credentials[natsd.System]
	nc, err := nats.Connect(outside.ClientURL(), nats.UserInfo(keeper.User, keeper.Password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	own := connect(t, embedded.Server, natsd.System)
	for _, account := range []string{natsd.AccountApp, "partner-acme", "partner-other", "partner-nothing"} {
		if d := cmp.Diff(shown(t, own, account), shown(t, nc, account)); d != "" {
			t.Errorf("account %s (-embedded +outside):\n%s", account, d)
		}
	}
}

func TestTheConfigurationHoldsNoPassword(t *testing.T) {
	c := configuration(t, tenancy.AccountOf("acme", []string{"S"}, limits))
	first := text(t, c)
	for role, own := range c.Credentials {
		if strings.Contains(first, own.Password) {
			t.Errorf("the password of %s", role)
		}
	}
	t.Run("and reads the same if nothing has changed", func(t *testing.T) {
		c.Previous = first
		if again := text(t, c); again != first {
			t.Errorf("%s\nthen\n%s", first, again)
		}
		other, err := natsd.NewCredentials()
		if err != nil {
			t.Fatal(err)
		}
		c.Credentials = other
		if again := text(t, c); again == first {
			t.Error("other passwords, the same digests")
		}
	})
	t.Run("nor an issuer that is none", func(t *testing.T) {
		c.LoginIssuer = "SUAX"
		if _, err := c.Text(); !errors.Is(err, events.Invalid) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAClosedAccountLetsNobodyIn(t *testing.T) {
	c := configuration(t, tenancy.ClosedAccount("acme"))
	opts := &server.Options{}
	if err := opts.ProcessConfigString(text(t, c)); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(opts.Accounts, func(a *server.Account) bool { return a.Name == "partner-acme" })
	if n := opts.Accounts[i].MaxActiveConnections(); n != 0 {
		t.Errorf("%d connections", n)
	}
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
		Name: "one", Listen: "127.0.0.1:4222", Monitor: "127.0.0.1:8222", StoreDir: dir, TLS: natsd.TLSFiles{Cert: files.Cert, Key: files.Key}, Include: "accounts.conf",
		Cluster: &natsd.Cluster{Name: "signoff", Listen: "127.0.0.1:6222", Routes: []string{"one:6222", "two:6222"}, User: "route", Password: "p@:/ss", TLS: files},
	}
	for name, content := range map[string]string{"accounts.conf": text(t, configuration(t)), "one.conf": n.Text()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "one.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if opts.TLSConfig == nil || opts.TLSConfig.ClientAuth != tls.NoClientCert {
		t.Errorf("clients: %+v", opts.TLSConfig)
	}
	if opts.Cluster.TLSConfig == nil || opts.Cluster.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Errorf("servers: %+v", opts.Cluster.TLSConfig)
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
		n := natsd.Node{Name: name, Listen: "a:1", StoreDir: dir, Include: "testdata/empty.conf", Cluster: &natsd.Cluster{Name: name, Password: secret}}
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
		if got["server_name"] != name || store != dir || password != secret {
			t.Errorf("%q, %q, %q came back as %q, %q, %q", name, dir, secret, got["server_name"], store, password)
		}
	})
}
