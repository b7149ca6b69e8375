package subscriber_test

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// newClusterInstallation runs on servers that form a cluster, as outside servers do.
func newClusterInstallation(t *testing.T, size int) *installation {
	t.Helper()
	dir := t.TempDir()
	keys, err := operator.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	roles, err := keys.RoleKeys()
	if err != nil {
		t.Fatal(err)
	}
	preload, err := keys.Preload(roles, filepath.Join(dir, "preload"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "operator.conf"), []byte(preload.Text()))
	var urls []string
	var servers []*server.Server
	routes := freeAddresses(t, size)
	for i := range size {
		name := fmt.Sprint("n", i+1)
		store, file := filepath.Join(dir, name), filepath.Join(dir, name+".conf")
		write(t, file, []byte(natsd.Node{
			Name: name, Listen: "127.0.0.1:-1", StoreDir: store, Accounts: filepath.Join(store, "jwt"), Include: "operator.conf",
			Cluster: &natsd.Cluster{Name: "signoff", Listen: routes[i], Routes: routes, User: "route", Password: "between servers"},
		}.Text()))
		s := startServer(t, file)
		servers, urls = append(servers, s), append(urls, s.ClientURL())
	}
	awaitCluster(t, servers)
	outside := natsd.Reach(natsd.OutsideConfig{
		URL: strings.Join(urls, ","), Timeout: enough, Log: slog.New(slog.DiscardHandler),
		Options: func(r natsd.Role) ([]nats.Option, error) {
			login, err := keys.Login(roles, r)
			return []nats.Option{login}, err
		},
	})
	return newInstallationOn(t, outside, func() *operator.Accounts { return outside.Accounts(keys, preload) }, keys, size, nil)
}

// awaitCluster waits until the servers have found each other and one leads them.
func awaitCluster(t *testing.T, servers []*server.Server) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(enough)
	for !slices.ContainsFunc(servers, func(s *server.Server) bool {
		return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers)
	}) {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the servers do not form a cluster")
		}
	}
}

// startServer starts a server from its file, as nats-server does.
func startServer(t *testing.T, file string) *server.Server {
	t.Helper()
	opts, err := server.ProcessConfigFile(file)
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
	if !s.ReadyForConnections(enough) {
		t.Fatal("a server does not start")
	}
	return s
}

// freeAddresses returns addresses with free ports, which servers have to know of each other
// before they start.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}
