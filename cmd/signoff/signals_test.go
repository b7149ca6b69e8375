package main

import (
	"bufio"
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// serveProcess starts the program as a process of its own and returns once it
// is ready, with the address of its read API.
func serveProcess(t *testing.T) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = child(t, "command", append(serveArgs(t.TempDir()), "--nats-listen", "127.0.0.1:0")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "read API"); ok {
			_, rest, _ = strings.Cut(rest, "http://")
			address, _, _ = strings.Cut(rest, "/")
		}
		if strings.Contains(lines.Text(), "Stop with Ctrl-C") { // the last line of the greeting
			return cmd, address
		}
	}
	t.Fatal("the server ended before it was ready")
	return nil, ""
}

func TestOneSignalStopsTheServerWell(t *testing.T) {
	cmd, _ := serveProcess(t)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want status 0", err)
	}
}

// A request that never ends holds up an orderly stop; a second signal does not
// wait for it.
func TestASecondSignalKillsTheServer(t *testing.T) {
	cmd, address := serveProcess(t)
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	request := "POST " + token.Path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
	if _, err := slow.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(slow).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("the request is not being read: %q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for { // until the first signal has been taken: then nobody is let in any more
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) || !ended.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("after the second signal: %v, want an end by the signal", err)
	}
}
