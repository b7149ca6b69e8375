package outbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/outbox"
)

// What the test tells the process that is to die.
const (
	crashPath = "SIGNOFF_CRASH_OUTBOX"
	crashStep = "SIGNOFF_CRASH_STEP"
)

var crashIDs = []string{"10", "11", "20", "30"}

// signAndDie signs, says what was acknowledged, and kills its own process at
// the step whose turn it is.
func signAndDie(path string) {
	left, _ := strconv.Atoi(os.Getenv(crashStep))
	o, err := outbox.Open(context.Background(), path, outbox.Config{Step: func(string) {
		if left--; left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, ids := range [][]string{crashIDs[:2], crashIDs[2:]} {
		answers, err := o.SignOff(context.Background(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: ids})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, a := range answers {
			fmt.Println(a.ID, a.Event)
		}
	}
}

func TestKilledAtEachStep(t *testing.T) {
	// Case 1 moves to its second revision and leaves 12 behind; case 2 is new.
	prepare := func(t *testing.T) *testOutbox {
		d := newOutbox(t)
		d.register(assessment("10", 1, 1, 1), assessment("11", 1, 1, 1), assessment("12", 1, 1, 1))
		d.sign("10", "11", "12")
		d.register(withLesions(assessment("10", 1, 2, 1), "T01"), assessment("11", 1, 2, 1), withLesions(assessment("20", 2, 1, 1), "T01"), assessment("30", 3, 1, 1))
		return d
	}
	undisturbed := prepare(t)
	undisturbed.sign(crashIDs...)
	want := undisturbed.published()
	groups := []int{3, 7, 9, 10} // events after each transaction

	for step := 1; ; step++ {
		d := prepare(t)
		acknowledged, died := crash(t, d.path, step)
		d = openAgain(t, d)
		left := d.published()
		if !slices.Contains(groups, len(left)) {
			t.Fatalf("step %d left part of a transaction: %v", step, left)
		}
		if diff := cmp.Diff(want[:len(left)], left); diff != "" {
			t.Fatalf("step %d: %s", step, diff)
		}
		held := map[string]string{}
		for _, e := range all(t, d.Outbox) {
			id, _, _ := e.ReportID()
			if e.Kind().Publishes() {
				held[id] = e.ID
			}
		}
		for id, event := range acknowledged {
			if held[id] != event {
				t.Errorf("step %d: event %s of %s was acknowledged and is lost", step, event, id)
			}
		}
		for i, a := range d.sign(crashIDs...) {
			if event, before := acknowledged[a.ID]; before && a.Event != event {
				t.Errorf("step %d: answer %d is another one", step, i)
			}
		}
		if diff := cmp.Diff(want, d.published()); diff != "" {
			t.Errorf("step %d: %s", step, diff)
		}
		follow(t, all(t, d.Outbox))
		if !died {
			if step < 10 {
				t.Errorf("there were only %d steps", step-1)
			}
			return
		}
	}
}

// crash runs signAndDie and returns the acknowledged events by assessment, and
// whether the process was killed.
func crash(t *testing.T, path string, step int) (acknowledged map[string]string, died bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashPath+"="+path, crashStep+"="+strconv.Itoa(step), "GORACE=atexit_sleep_ms=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() >= 0) {
		t.Fatalf("%v: %s", err, &stderr)
	}
	acknowledged = map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		id, event, _ := strings.Cut(lines.Text(), " ")
		acknowledged[id] = event
	}
	return acknowledged, err != nil
}
