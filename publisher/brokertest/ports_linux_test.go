package brokertest_test

import (
	"errors"
	"strconv"
	"syscall"
	"testing"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
)

// For the system the port is in use although nobody listens: it refuses whoever does not ask
// to share it, as an outgoing connection does not.
func TestAReservedPortIsInUse(t *testing.T) {
	port, err := strconv.Atoi(brokertest.FreePort(t, "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("binding to the port: %v", err)
	}
}
