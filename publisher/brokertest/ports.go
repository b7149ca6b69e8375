package brokertest

import (
	"net"
	"slices"
	"strconv"
	"testing"
)

// FreeAddresses returns addresses with free ports, for servers that have to know the
// addresses of each other before they start. See FreePort.
func FreeAddresses(t testing.TB, n int) (all []string) {
	t.Helper()
	const host = "127.0.0.1"
	for len(all) < n {
		// Where ports are not reserved, one may come twice.
		if address := net.JoinHostPort(host, FreePort(t, host)); !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// FreePort returns a port that is free on all hosts, which are addresses of IPv4. On Linux
// it is reserved until the test ends: servers of the test can listen on it, and again after
// they were stopped, but the system gives it to nobody else who asks for any free port, as
// each outgoing connection does. Elsewhere it may be taken before a server listens on it.
func FreePort(t testing.TB, hosts ...string) string {
	t.Helper()
	const attempts = 100 // a port that is free on one host may not be on another
	var err error
	for range attempts {
		port := 0 // any
		var releases []func()
		for _, host := range hosts {
			var release func()
			if port, release, err = ReservePort(host, port); err != nil {
				break
			}
			releases = append(releases, release)
		}
		for _, release := range releases {
			if err != nil {
				release()
			} else {
				t.Cleanup(release)
			}
		}
		if err == nil {
			return strconv.Itoa(port)
		}
	}
	t.Fatalf("no port is free on all of %v: %v", hosts, err)
	return ""
}
