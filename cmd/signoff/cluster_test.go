package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsconf"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsflags"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// natsServerChild is a NATS server as nats-server -c FILE runs it.
func natsServerChild() int {
	opts, err := natsserver.ProcessConfigFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitRefused
	}
	if os.Getenv("SIGNOFF_TEST_NATS_LOG") != "" {
		s.ConfigureLogger()
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return exitRefused
	}
	fmt.Println("ready")
	s.WaitForShutdown()
	return exitDone
}

// cluster are NATS servers in processes of their own, under the configuration
// that nats-config writes for a data directory.
type cluster struct {
	t     *testing.T
	data  string   // of the program
	conf  string   // of the servers, and the credentials
	args  []string // of nats-config
	store string   // of each server, in a directory that is named like its host

	hosts []string
	nodes []*exec.Cmd // nil: killed
	port  string
}

// newCluster starts size servers. If there are several, each has its own address in
// 127.0.0.0/8, so that they can have the same ports, as in the configuration for several
// machines. Args are added to those of nats-config.
func newCluster(t *testing.T, data string, size int, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, data: data, conf: t.TempDir(), store: t.TempDir(), nodes: make([]*exec.Cmd, size)}
	network := "127.0.0."
	if size > 1 {
		network = fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), rand.IntN(250))
	}
	for i := range size {
		c.hosts = append(c.hosts, fmt.Sprint(network, i+1))
	}
	if l, err := net.Listen("tcp", c.hosts[0]+":0"); err != nil {
		t.Skipf("no address of one's own on this system: %v", err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.port = brokertest.FreePort(t, c.hosts...)
	c.args = append([]string{
		"nats-config", "--data", data, "--out", c.conf, "--store-dir", filepath.Join(c.store, "{node}"), "--monitor-listen=",
		"--client-listen", "{node}:" + c.port, "--cluster-listen", "{node}:" + brokertest.FreePort(t, c.hosts...),
	}, args...)
	for _, host := range c.hosts {
		c.args = append(c.args, "--node", host)
	}
	mustSignoff(t, c.args...)
	for i := range c.nodes {
		c.start(i)
	}
	return c
}

func (c *cluster) start(i int) {
	c.t.Helper()
	cmd := child(c.t, "nats-server", filepath.Join(c.conf, c.hosts[i]+".conf"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		c.t.Fatalf("NATS server %s: %q, %v, %v", c.hosts[i], line, err, cmd.Wait())
	}
	c.nodes[i] = cmd
	c.t.Cleanup(func() { c.kill(i) })
}

// kill ends a server as a power failure does.
func (c *cluster) kill(i int) {
	c.t.Helper()
	if c.nodes[i] == nil {
		return
	}
	if err := c.nodes[i].Process.Kill(); err != nil {
		c.t.Error(err)
	}
	_ = c.nodes[i].Wait() // killed
	c.nodes[i] = nil
}

func (c *cluster) url(i int) string { return "nats://" + c.hosts[i] + ":" + c.port }

// flags returns the flags with which the program reaches the cluster.
func (c *cluster) flags() natsflags.Flags {
	var urls []string
	for i := range c.hosts {
		urls = append(urls, c.url(i))
	}
	return natsflags.Flags{NATSURL: strings.Join(urls, ","), NATSCreds: filepath.Join(c.conf, natsconf.CredentialsDir, "{role}"+natsconf.CredsSuffix)}
}

// settings returns the settings of a server on the cluster.
func (c *cluster) settings() server.Settings {
	s := loopback()
	s.NATSListen, s.Flags, s.NATSReplicas = "", c.flags(), len(c.hosts)
	return s
}

// calloutSettings returns the settings of a callout on the cluster, which has nothing
// but the directory that is made for it.
func (c *cluster) calloutSettings() server.CalloutSettings {
	own := filepath.Join(c.conf, natsconf.CalloutDir)
	flags := c.flags()
	flags.NATSCreds = filepath.Join(own, "{role}"+natsconf.CredsSuffix)
	return server.CalloutSettings{Flags: flags, OpsListen: "127.0.0.1:0", LoginKey: filepath.Join(own, natsconf.AnswersFile)}
}

// stream reads the state of the stream with the role reader.
func (c *cluster) stream() *jetstream.StreamInfo {
	c.t.Helper()
	nc, err := c.flags().Reach(slog.New(slog.DiscardHandler)).Connect(natsd.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	var stream jetstream.Stream
	eventually(c.t, "a leader of the stream that answers", func() (err error) {
		stream, err = js.Stream(c.t.Context(), events.Stream)
		return err
	})
	return stream.CachedInfo()
}

// login connects a partner to one server.
func (c *cluster) login(i int, id, secret string) (*nats.Conn, error) {
	return login(c.url(i), id, secret)
}

// credentialFiles writes credentials that no server knows, and returns their path for
// --nats-creds.
func credentialFiles(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	mustSignoff(t, "nats-config", "--data", t.TempDir(), "--out", out, "--insecure")
	return filepath.Join(out, natsconf.CredentialsDir, "{role}"+natsconf.CredsSuffix)
}

// patience is how long what must happen is waited for.
const patience = 3 * time.Minute

// eventually calls holds until it returns nil; what names the condition.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// arrives waits until the channel receives something or is closed.
func arrives(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %s", what, patience)
	}
}
