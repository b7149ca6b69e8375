package partners_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// childDir is the variable that tells the test binary to be the program that
// is killed, and on which files.
const childDir = "SIGNOFF_TEST_INSTALLATION"

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
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestProgramThatIsKilled$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
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

	h := newInstallationIn(t, dir, config{}, partner("acme", "A"))
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
		return seen[published-1]
	})
	t.Logf("what came again was acknowledged %s before the kill at the most", oldest)
	for n := acknowledged + 2; n < published; n++ { // the one after may be acknowledged too, its answer lost
		if !seen[n] {
			t.Errorf("%d is lost", n)
		}
	}
}
