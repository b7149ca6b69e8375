package partners_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events/access"
)

// childDir is the variable that tells the test binary to be the program that
// is killed, and on which files.
const childDir = "SIGNOFF_TEST_INSTALLATION"

// startChild starts a test of this binary as a process of its own, on the files of an
// installation, and returns its output.
func startChild(t *testing.T, test, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

const (
	published = 2000
	killedAt  = 1000
)

// TestProgramThatIsKilled serves a partner that reads and acknowledges until it
// is killed, and prints each body once the server has confirmed it.
func TestProgramThatIsKilled(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("runs as a process of its own, started by the next test")
	}
	h := newInstallationIn(t, dir, config{AckWait: time.Second})
	for i := range published {
		if _, err := h.writer.PublishAsync("in.crit.v1.A.DiagnosticReport.signed", []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	<-h.writer.PublishAsyncComplete()
	h.admit("acme", "A")
	c := consumer(t, h.mustLogin("acme"), "acme=A")
	for {
		fmt.Println(take(t, c, 1)[0])
	}
}

// The server writes down what was acknowledged ten times a second.
func TestKilledInTheMiddleNothingIsLostAndOnlyTheLastMomentComesAgain(t *testing.T) {
	dir := t.TempDir()
	cmd, out := startChild(t, "TestProgramThatIsKilled", dir)
	acknowledged := -1
	var killed time.Time
	var times []time.Time
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil || n != acknowledged+1 {
			t.Fatalf("after %d the child read %q", acknowledged, lines.Text())
		}
		acknowledged = n
		times = append(times, time.Now())
		if n == killedAt {
			killed = time.Now()
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if acknowledged < killedAt {
		t.Fatalf("the child ended after %d", acknowledged)
	}

	h := newInstallationIn(t, dir, config{AckWait: 5 * time.Second}, partner("acme", "A"))
	c := consumer(t, h.mustLogin("acme"), "acme=A")
	seen := make(map[int]bool)
	var oldest time.Duration // of what was acknowledged and comes again, when it was killed
	until(t, "all the others are read", func() bool {
		batch, err := c.Fetch(500, jetstream.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			n, err := strconv.Atoi(string(msg.Data()))
			if err != nil {
				t.Fatal(err)
			}
			if n <= acknowledged {
				oldest = max(oldest, killed.Sub(times[n]))
			}
			seen[n] = true
			if err := msg.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		for n := acknowledged + 2; n < published; n++ { // the one after may be acknowledged too, its answer lost
			if !seen[n] { // one that came too late for its request comes again
				return false
			}
		}
		return true
	})
	t.Logf("what came again was acknowledged %s before the kill at the most", oldest)
}

var kills = flag.Int("kills", 3, "how often the program is killed in TestKilledWhileItPushesAccounts")

// pushedPartners are partners whose accounts change all the time. Study A is granted to all
// of them, study B to every other one.
func pushedPartners(round int) (all []access.Partner) {
	for i := range 8 {
		all = append(all, partner(fmt.Sprint("p", i), []string{"A", "B"}[:1+(i+round)%2]...))
	}
	return all
}

// TestProgramThatIsKilledWhileItPushes changes what is granted to partners until it is
// killed, and prints a line once it begins.
func TestProgramThatIsKilledWhileItPushes(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("runs as a process of its own, started by the next test")
	}
	h := newInstallationIn(t, dir, config{CompareInterval: 20 * time.Millisecond}, pushedPartners(0)...)
	fmt.Println("begins")
	for round := 1; ; round++ {
		for _, p := range pushedPartners(round) {
			h.setPartner(p)
			until(t, "the partner is admitted again", func() bool { return h.reconciler.Status().Ready })
		}
	}
}

// Consumers, accounts and the position of each partner are right after the next start,
// whatever was under way.
func TestKilledWhileItPushesAccounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := newInstallationIn(t, dir, config{}, pushedPartners(0)...)
	h.publish("A", "a1", "a2")
	h.publish("B", "b1")
	for _, p := range pushedPartners(0) {
		same(t, "before", take(t, consumer(t, h.mustLogin(p.ID), p.ID+"=A"), 1), "a1")
	}
	h.stop()
	h.server.Shutdown() // so that all that was acknowledged is on disk
	for range *kills {
		cmd, out := startChild(t, "TestProgramThatIsKilledWhileItPushes", dir)
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "begins" {
			t.Fatalf("the child printed %q, %v", lines.Text(), cmd.Wait())
		}
		<-time.After(rand.N(300 * time.Millisecond)) // at any moment
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	h = newInstallationIn(t, dir, config{}, pushedPartners(1)...)
	for _, p := range pushedPartners(1) {
		nc := h.mustLogin(p.ID)
		c := consumer(t, nc, p.ID+"=A")
		same(t, p.ID+" of A", take(t, c, 1), "a2")
		none(t, c)
		if len(p.Studies) > 1 {
			same(t, p.ID+" of B", take(t, consumer(t, nc, p.ID+"=B"), 1), "b1")
		} else if _, err := nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF."+p.ID+"=B", nil, 100*time.Millisecond); err == nil {
			t.Errorf("%s reads a study that is not granted", p.ID)
		}
	}
}
