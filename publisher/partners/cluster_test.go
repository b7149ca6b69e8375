package partners_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// cluster is three servers under the configuration that is written for them.
type cluster struct {
	*natsd.Outside
	keys    *operator.Keys
	roles   operator.RoleKeys
	preload *operator.Preload
	urls    []string
	files   []string // configurations of the servers
	servers []*server.Server

	accounts []string // directories in which the servers store accounts

	processes []*exec.Cmd // in place of servers
	cutOff    atomic.Bool // nothing passes between the third of them and the others
}

func (c *cluster) Credentials(r natsd.Role) ([]byte, error) { return c.keys.Credentials(c.roles, r) }

// startCluster starts the servers from files, as nats-server does, and waits
// until they have found each other.
func startCluster(t testing.TB) *cluster {
	t.Helper()
	made := writeCluster(t, false, "127.0.0.1:-1", "127.0.0.1:-1", "127.0.0.1:-1")
	for _, file := range made.files {
		s := brokertest.StartNode(t, file)
		made.servers, made.urls = append(made.servers, s), append(made.urls, s.ClientURL())
	}
	brokertest.AwaitCluster(t, made.servers)
	made.reach(timeout)
	return made
}

// writeCluster writes the files of servers that listen on the addresses. Apart: the third
// server and the others know each other by addresses of relays only.
func writeCluster(t testing.TB, apart bool, listen ...string) *cluster {
	t.Helper()
	dir := t.TempDir()
	of := brokertest.NewOperation(t, dir)
	made := &cluster{keys: of.Keys, roles: of.Roles, preload: of.Preload}
	routes := brokertest.FreeAddresses(t, 3)
	relays := slices.Clone(routes)
	if apart {
		for i, address := range routes {
			relays[i] = made.relay(t, address)
		}
	}
	for i, name := range []string{"n1", "n2", "n3"} {
		file, store := filepath.Join(dir, name+".conf"), t.TempDir()
		others := []string{routes[0], routes[1], relays[2]}
		if i == 2 {
			others = []string{relays[0], relays[1], routes[2]}
		}
		text := natsd.Node{
			Name: name, Listen: listen[i], StoreDir: store, Accounts: filepath.Join(store, "jwt"), Include: brokertest.OperatorFile,
			Cluster: &natsd.Cluster{Name: "signoff", Listen: routes[i], Routes: others, User: "route", Password: "between servers"},
		}.Text()
		if apart {
			text = strings.Replace(text, "no_advertise: true\n", fmt.Sprintf("no_advertise: true\n  advertise: %q\n", relays[i]), 1)
		}
		brokertest.Write(t, file, text)
		made.files, made.accounts = append(made.files, file), append(made.accounts, filepath.Join(store, "jwt"))
	}
	return made
}

// relay passes on what comes to the address that it returns, unless the third server is
// cut off: then what was sent waits.
func (c *cluster) relay(t testing.TB, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ended, end := context.WithCancel(context.Background())
	pass := func(from, to net.Conn) {
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			for c.cutOff.Load() && ended.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if err == nil {
				_, err = to.Write(buf[:n])
			}
			if err != nil {
				_, _ = from.Close(), to.Close()
				return
			}
		}
	}
	running.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			stop := context.AfterFunc(ended, func() { _, _ = from.Close(), conn.Close() })
			defer stop()
			running.Go(func() { pass(from, conn) })
			running.Go(func() { pass(conn, from) })
		}
	})
	t.Cleanup(func() {
		end()
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// startProcesses starts the servers in processes of their own.
func startProcesses(t testing.TB) *cluster {
	t.Helper()
	addresses := brokertest.FreeAddresses(t, 3)
	made := writeCluster(t, true, addresses...)
	made.processes = make([]*exec.Cmd, 3)
	for i, address := range addresses {
		made.urls = append(made.urls, "nats://"+address)
		made.start(t, i)
		t.Cleanup(func() { made.kill(i) })
	}
	made.reach(time.Second)
	return made
}

// start starts a server in a process of its own.
func (c *cluster) start(t testing.TB, i int) {
	t.Helper()
	c.processes[i] = brokertest.StartProcess(t, c.files[i])
}

// kill ends a server as signal 9 does.
func (c *cluster) kill(i int) {
	if c.processes[i] != nil {
		_ = c.processes[i].Process.Kill() // it may have ended
		_ = c.processes[i].Wait()
		c.processes[i] = nil
	}
}

// reach has what runs on the cluster wait that long for answers of all servers.
func (c *cluster) reach(wait time.Duration) {
	c.Outside = natsd.Reach(natsd.OutsideConfig{
		URL: strings.Join(c.urls, ","), Timeout: wait, Log: slog.New(slog.DiscardHandler),
		Options: func(r natsd.Role) ([]nats.Option, error) {
			login, err := c.keys.Login(c.roles, r)
			return []nats.Option{login}, err
		},
	})
}

// newClusterInstallation is an installation on a cluster that knows the partners from the start.
func newClusterInstallation(t testing.TB, cfg config, known ...access.Partner) (*installation, *cluster) {
	t.Helper()
	h, built := prepareCluster(t, cfg, known...)
	h.startService()
	h.ready()
	return h, built
}

// prepareCluster is an installation on a cluster on which nothing else runs yet.
func prepareCluster(t testing.TB, cfg config, known ...access.Partner) (*installation, *cluster) {
	t.Helper()
	h := prepare(t, cfg)
	for _, p := range known {
		h.directory.d = h.directory.d.WithPartner(p)
	}
	built := startCluster(t)
	h.on(built)
	return h, built
}

// on has the installation run on a cluster.
func (h *installation) on(built *cluster) {
	h.t.Helper()
	h.servers, h.keys, h.preload = built, built.keys, built.preload
	h.reach(built.Accounts(built.keys, built.preload))
	until(h.t, "JetStream answers", func() bool {
		js, err := jetstream.New(h.connect(natsd.Publisher))
		if err != nil {
			h.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
		defer cancel()
		_, err = js.AccountInfo(ctx)
		return err == nil
	})
	h.makeStream(3)
}

func clusterAttackTest(t *testing.T) *attackTest {
	k := &clock{now: time.Now()}
	h, built := newClusterInstallation(t, attackConfig(k), attackPartners()...)
	return newAttackTest(t, h, k, built.urls...)
}

func TestAPartnerThatSendsTooMuchIsSuspendedOnAllServers(t *testing.T) {
	c := &clock{now: time.Now()}
	cfg := config{Limits: tenancy.DefaultLimits(), Rate: 100, Burst: 1000, Measure: 10 * time.Millisecond, Clock: c.Now}
	h, built := newClusterInstallation(t, cfg, partner("acme", "A"), partner("other", "A"))
	at := func(server int, id string) (*nats.Conn, error) { return connect(built.urls[server], bySecret(id)) }
	post := func(server int, id string) (nc *nats.Conn) {
		t.Helper()
		until(t, "a login", func() bool { // each server has to know of the callout first
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
	floods(t, flooding, "$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1")
	ends(t, "its connection to another server", gone)
	nc, err := at(2, "acme")
	wantRefused(t, "a login at a third one", nc, err)
	h.publish("A", "a1")
	same(t, "another partner", take(t, consumer(t, stranger, "other=A"), 1), "a1")
	select {
	case <-stays:
		t.Error("another partner was suspended")
	default:
	}
}

// A server that does not answer, however long it is waited for, keeps nobody from being
// suspended on the others.
func TestAPartnerThatSendsTooMuchIsSuspendedWhileAServerIsSilent(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Now()}
	h := prepare(t, config{Limits: tenancy.DefaultLimits(), Rate: 100, Burst: 1000, Measure: 10 * time.Millisecond, Clock: c.Now})
	h.directory.d = h.directory.d.WithPartner(partner("acme", "A"))
	built := startProcesses(t)
	all := built.urls
	built.urls = all[:2] // the service is not connected to the server that will be silent
	built.reach(time.Hour)
	h.on(built)
	h.startService()
	h.ready()
	var flooding *nats.Conn
	until(t, "a login", func() bool { // the server has to know of the callout first
		var err error
		flooding, err = connect(all[0], bySecret("acme"))
		return err == nil
	})
	t.Cleanup(flooding.Close)
	send(t, built, syscall.SIGSTOP)
	floods(t, flooding, "$JS.ACK.SIGNOFF.acme=A.1.1.1.1.1")
}

// newClusterThatMayFail is an installation on a cluster of which a server may be stopped.
func newClusterThatMayFail(t testing.TB, cfg config, known ...access.Partner) (*installation, *cluster) {
	t.Helper()
	cfg.Limits = tenancy.DefaultLimits()
	h, built := prepareCluster(t, cfg, known...)
	built.reach(time.Second)
	h.reach(built.Accounts(built.keys, built.preload))
	h.startService()
	h.ready()
	return h, built
}

// holder is the place in the cluster of the server that holds a consumer alone.
func (h *installation) holder(c *cluster, name string) int {
	h.t.Helper()
	info := h.state(name)
	if len(info.Cluster.Replicas) > 0 {
		h.t.Fatalf("%s is held by several servers", name)
	}
	return slices.IndexFunc(c.servers, func(s *server.Server) bool { return s.Name() == info.Cluster.Leader })
}

// state is what the server says of a consumer.
func (h *installation) state(name string) *jetstream.ConsumerInfo {
	h.t.Helper()
	var info *jetstream.ConsumerInfo
	until(h.t, name+" answers", func() bool {
		ctx, cancel := context.WithTimeout(h.t.Context(), time.Second)
		defer cancel()
		c, err := h.writer.Consumer(ctx, events.Stream, name)
		if err == nil {
			info = c.CachedInfo()
		}
		return err == nil
	})
	return info
}

// The server lists such a consumer as present, and does not make it elsewhere by itself.
func TestAConsumerWhoseServerIsGoneGoesOnElsewhereBehindWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	studies := []string{"A", "B", "C", "D"}
	h, built := newClusterThatMayFail(t, config{Replicas: 1, Absent: 100 * time.Millisecond, AckWait: time.Second}, partner("acme", studies...))
	nc := h.mustLogin("acme")
	for i, s := range studies {
		h.publish(s, s+"1", s+"2", s+"3")
		c := consumer(t, nc, "acme="+s)
		same(t, "before", take(t, c, 2), s+"1", s+"2")
		if _, err := c.Next(jetstream.FetchMaxWait(timeout)); err != nil { // not acknowledged
			t.Fatal(err)
		}
		second := uint64(3*i + 2)
		until(t, "the receipt is kept", func() bool { return h.receipts.of("acme", s).Acknowledged == second })
	}
	gone := h.holder(built, "acme=A")
	built.servers[gone].Shutdown()
	built.servers[gone].WaitForShutdown()

	var again *nats.Conn
	until(t, "the partner is back", func() (ok bool) {
		var err error
		again, err = h.login("acme")
		return err == nil
	})
	t.Cleanup(again.Close)
	for _, s := range studies {
		if at := h.holder(built, "acme="+s); at == gone {
			t.Errorf("%s is held by the server that is gone", s)
		}
		c := consumer(t, again, "acme="+s)
		same(t, "what was not acknowledged", take(t, c, 1), s+"3")
		none(t, c)
		h.publish(s, s+"4")
		same(t, "the next event", take(t, c, 1), s+"4")
		none(t, c)
	}
	h.ready()
}

func TestConsumersGetAsManyReplicasAsAreSet(t *testing.T) {
	h, _ := newClusterThatMayFail(t, config{}, partner("acme", "A"))
	h.publish("A", "a1", "a2", "a3")
	replicas := func(want int) {
		t.Helper()
		for _, name := range []string{"acme", "acme=A"} {
			until(t, fmt.Sprintf("%s is held by %d servers", name, want), func() bool {
				info := h.state(name)
				return info.Cluster != nil && len(info.Cluster.Replicas) == want-1
			})
		}
	}
	pull := func(want string) {
		t.Helper()
		nc := h.mustLogin("acme")
		same(t, "pulled", take(t, consumer(t, nc, "acme=A"), 1), want)
		nc.Close()
	}
	replicas(3)
	pull("a1")
	created := h.state("acme=A").Created
	for _, step := range []struct {
		set, want int
		next      string
	}{{1, 1, "a2"}, {0, 3, "a3"}} {
		h.stop()
		h.cfg.Replicas = step.set
		h.startService()
		replicas(step.want)
		h.ready()
		pull(step.next)
	}
	if now := h.state("acme=A").Created; !now.Equal(created) {
		t.Errorf("it was created again at %s", now)
	}
}
