package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// childVariable holds, for a child process, the directory, the step at which
// it kills itself, how often it passes it before, and how many microseconds
// after it.
const childVariable = "PUBLISHER_TEST_CHILD"

func TestKilledAtEveryStepNothingIsLostAndNothingIsTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	dir := t.TempDir()
	b := &broker{brokertest.New(t, natsd.Config{Dir: dir}), t}
	source := newOutbox(t)
	const perRun = 100
	total := 0
	steps := []string{publisher.StepCompare, publisher.StepOpen, publisher.StepMiddle, publisher.StepCommit, publisher.StepRecord, publisher.StepDone}
	for i := range 24 {
		source.add([]string{"A", "B"}[i%2], perRun)
		total += perRun
		step, passes, delay := steps[i%len(steps)], i%2, 0
		if step == publisher.StepCompare {
			passes = 0
		}
		if step == publisher.StepCommit {
			delay = rand.IntN(3000) // somewhere around the fsync and its acknowledgement
		}
		if i == 12 { // a dozen runs in, the stream is gone, and filling it again is killed as well
			step = publisher.StepRefill
			if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		}
		killed(t, source.path, dir, step, passes, delay)
	}
	b.Start()
	r := run(t, b, source, publisher.Config{})
	r.reaches(uint64(total))
	same(t, b, source, total)
}

// killed runs a relay and its broker in a process that ends itself by SIGKILL.
func killed(t *testing.T, path, dir, step string, passes, delay int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0",
		fmt.Sprintf("%s=%s\n%s\n%s\n%d\n%d", childVariable, path, dir, step, passes, delay))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child that was to die at %q: %v\n%s", step, err, out)
	}
}

// child is the process that killed starts.
func child(args string) error {
	f := strings.Split(args, "\n")
	path, dir, step := f[0], f[1], f[2]
	passes, err := strconv.Atoi(f[3])
	if err != nil {
		return err
	}
	delay, err := strconv.Atoi(f[4])
	if err != nil {
		return err
	}
	server, err := natsd.Start(natsd.Config{Dir: dir})
	if err != nil {
		return err
	}
	source, err := outbox.Open(context.Background(), path, outbox.Config{})
	if err != nil {
		return err
	}
	nc, err := server.Connect(natsd.Publisher, publisher.Options()...)
	if err != nil {
		return err
	}
	relay, err := publisher.New(nc, source.Source(), publisher.Config{MaxBatch: 30, Settle: 10 * time.Millisecond, Step: func(name string) {
		if name != step {
			return
		}
		if passes--; passes < 0 {
			time.AfterFunc(time.Duration(delay)*time.Microsecond, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
			if delay == 0 {
				select {}
			}
		}
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(relay.Run(ctx), errors.New("was not killed"))
}
