package brokertest_test

import (
	"net"
	"runtime"
	"testing"

	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
)

// A server of the test listens on the port, also a second time, and a connection that is
// open on it does not prevent that.
func TestAReservedPortIsForServersOfTheTest(t *testing.T) {
	hosts := []string{"127.0.0.1", "127.0.0.2"}
	if runtime.GOOS != "linux" {
		hosts = hosts[:1]
	}
	port := brokertest.FreePort(t, hosts...)
	for range 3 {
		for _, host := range hosts {
			l, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
