package brokertest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

// patience bounds each wait for a server, on a slow and loaded machine.
const patience = 2 * time.Minute

// Operation has what outside servers are configured with.
type Operation struct {
	Keys    *operator.Keys
	Roles   operator.RoleKeys
	Preload *operator.Preload
}

// OperatorFile is the file in the directory of an operation that the files of its servers
// include.
const OperatorFile = "operator.conf"

// NewOperation makes keys and accounts in a directory, and writes OperatorFile there.
func NewOperation(t testing.TB, dir string) Operation {
	t.Helper()
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
	Write(t, filepath.Join(dir, OperatorFile), preload.Text())
	return Operation{keys, roles, preload}
}

// StartNode starts a server from its file, as nats-server does, and waits until it accepts
// connections. It is stopped when the test ends.
func StartNode(t testing.TB, file string) *server.Server {
	t.Helper()
	s, err := newServer(file)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatalf("the server of %s does not accept connections", file)
	}
	return s
}

func newServer(file string) (*server.Server, error) {
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return nil, err
	}
	opts.NoSigs, opts.NoLog = true, true
	return server.NewServer(opts)
}

// AwaitCluster waits until the servers have found each other and one of them leads.
func AwaitCluster(t testing.TB, servers []*server.Server) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for {
		leaders := 0
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers) {
				leaders++
			}
		}
		if leaders == 1 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the servers do not form a cluster")
		}
	}
}

// nodeFile is the environment variable with the file of the server that a child process
// runs.
const nodeFile = "BROKERTEST_NODE"

// Main runs a server and ends the process, if StartProcess started it. TestMain calls it
// first.
func Main() {
	if file := os.Getenv(nodeFile); file != "" {
		os.Exit(runNode(file)) //nolint:revive // the process is only there for the server
	}
}

func runNode(file string) (status int) {
	s, err := newServer(file)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s.SetLogger(failures{}, false, false)
	s.Start()
	if !s.ReadyForConnections(patience) {
		return 1
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the test ends
	return 0
}

// failures prints what keeps a server from starting, in place of "ready".
type failures struct{}

func (failures) Fatalf(format string, v ...any) { fmt.Printf(format+"\n", v...) }

func (failures) Errorf(string, ...any)  {}
func (failures) Warnf(string, ...any)   {}
func (failures) Noticef(string, ...any) {}
func (failures) Debugf(string, ...any)  {}
func (failures) Tracef(string, ...any)  {}

// StartProcess starts a server from its file in a process of its own, which is the test
// binary again, and waits until it accepts connections. The process ends with that of the
// test.
func StartProcess(t testing.TB, file string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), nodeFile+"="+file)
	_, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the server of %s: %q, %v", file, line, err)
	}
	return cmd
}

// Write writes a file.
func Write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
