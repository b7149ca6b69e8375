package doors_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/doors"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// cluster is three servers under the configuration that is written for them.
type cluster struct {
	*natsd.Outside
	c    natsd.Configuration
	urls []string
}

func (c *cluster) Credentials(r natsd.Role) natsd.Credentials { return c.c.Credentials[r] }

// startCluster starts the servers from files, as nats-server does, and waits
// until they have found each other.
func startCluster(t *testing.T, c natsd.Configuration) *cluster {
	t.Helper()
	text, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "accounts.conf"), text)
	routes := freeAddresses(t, 3)
	var servers []*server.Server
	made := &cluster{c: c}
	for i, name := range []string{"n1", "n2", "n3"} {
		file := filepath.Join(dir, name+".conf")
		write(t, file, natsd.Node{
			Name: name, Listen: "127.0.0.1:-1", StoreDir: t.TempDir(), Include: "accounts.conf",
			Cluster: &natsd.Cluster{Name: "signoff", Listen: routes[i], Routes: routes, User: "route", Password: "between servers"},
		}.Text())
		servers = append(servers, startNode(t, file))
	}
	for _, s := range servers {
		if !s.ReadyForConnections(timeout) {
			t.Fatal("a server is not ready")
		}
		made.urls = append(made.urls, s.ClientURL())
	}
	until(t, "the servers form a cluster", func() bool {
		leaders := 0
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 {
				leaders++
			}
		}
		return leaders == 1
	})
	made.Outside = natsd.Reach(natsd.OutsideConfig{
		URL: strings.Join(made.urls, ","), Timeout: timeout, Log: slog.New(slog.DiscardHandler),
		Options: func(r natsd.Role) ([]nats.Option, error) {
			return []nats.Option{nats.UserInfo(c.Credentials[r].User, c.Credentials[r].Password)}, nil
		},
	})
	t.Cleanup(made.Shutdown)
	return made
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddresses finds ports, which the servers have to know of each other
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

func startNode(t *testing.T, file string) *server.Server {
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
	return s
}

// newClusterHouse is a house on a cluster that knows the partners from the start.
func newClusterHouse(t *testing.T, cfg doors.Config, known ...access.Partner) (*house, *cluster) {
	t.Helper()
	h := furnish(t, cfg)
	c := natsd.Configuration{}
	var err error
	if c.LoginIssuer, err = doors.IssuerKey(h.seed); err != nil {
		t.Fatal(err)
	}
	if c.Credentials, err = natsd.NewCredentials(); err != nil {
		t.Fatal(err)
	}
	for _, p := range known {
		h.book.d = h.book.d.WithPartner(p)
		if p.Enabled {
			c.Partners = append(c.Partners, events.PartnerAccountOf(p.ID, p.Studies, h.cfg.Limits))
		}
	}
	built := startCluster(t, c)
	h.site = built
	h.makeStream(3)
	h.startDoors()
	h.ready()
	return h, built
}

func clusterSiege(t *testing.T) *siege {
	k := &clock{now: time.Now()}
	h, built := newClusterHouse(t, siegeConfig(k), besieged()...)
	return besiege(t, h, k, built.urls...)
}

func TestWhoSendsTooMuchIsPutOutOfAllServers(t *testing.T) {
	c := &clock{now: time.Now()}
	cfg := doors.Config{Limits: doors.DefaultLimits(), Rate: 100, Burst: 1000, Watch: 10 * time.Millisecond, Clock: c.Now}
	h, built := newClusterHouse(t, cfg, partner("acme", "A"), partner("other", "A"))
	at := func(server int, id string) (*nats.Conn, error) {
		return nats.Connect(built.urls[server], nats.UserInfo(id, secretOf(id)), nats.NoReconnect(), nats.Timeout(timeout))
	}
	post := func(server int, id string) (nc *nats.Conn) {
		t.Helper()
		until(t, "a login", func() bool { // each server has to know of the doors first
			var err error
			nc, err = at(server, id)
			return err == nil
		})
		t.Cleanup(nc.Close)
		return nc
	}
	flooding, idle, stranger := post(0, "acme"), post(1, "acme"), post(0, "other")
	post(2, "acme").Close()
	gone, stays := idle.StatusChanged(nats.CLOSED), stranger.StatusChanged(nats.CLOSED)
	floods(flooding, "$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1")
	ends(t, "its connection to another server", gone)
	nc, err := at(2, "acme")
	wantRefused(t, "a login at a third one", nc, err)
	h.publish("A", "a1")
	same(t, "another partner", take(t, consumer(t, stranger, "other=A"), 1), "a1")
	select {
	case <-stays:
		t.Error("another partner was put out")
	default:
	}
}
