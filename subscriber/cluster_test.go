package subscriber_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// newClusterInstallation runs on servers that form a cluster, as outside servers do.
func newClusterInstallation(t *testing.T, size int) *installation {
	t.Helper()
	dir := t.TempDir()
	of := brokertest.NewOperation(t, dir)
	var urls []string
	var servers []*server.Server
	routes := brokertest.FreeAddresses(t, size)
	for i := range size {
		name := fmt.Sprint("n", i+1)
		store, file := filepath.Join(dir, name), filepath.Join(dir, name+".conf")
		brokertest.Write(t, file, natsd.Node{
			Name: name, Listen: "127.0.0.1:-1", StoreDir: store, Accounts: filepath.Join(store, "jwt"), Include: brokertest.OperatorFile,
			Cluster: &natsd.Cluster{Name: "signoff", Listen: routes[i], Routes: routes, User: "route", Password: "between servers"},
		}.Text())
		s := brokertest.StartNode(t, file)
		servers, urls = append(servers, s), append(urls, s.ClientURL())
	}
	brokertest.AwaitCluster(t, servers)
	outside := natsd.Reach(natsd.OutsideConfig{
		URL: strings.Join(urls, ","), Timeout: enough, Log: slog.New(slog.DiscardHandler),
		Options: func(r natsd.Role) ([]nats.Option, error) {
			login, err := of.Keys.Login(of.Roles, r)
			return []nats.Option{login}, err
		},
	})
	return newInstallationOn(t, outside, func() *operator.Accounts { return outside.Accounts(of.Keys, of.Preload) }, of.Keys, size, nil)
}
