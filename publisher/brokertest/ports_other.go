//go:build !linux

package brokertest

import (
	"net"
	"strconv"
)

// ReservePort finds a free port of a host, or that the port is free. Nothing keeps it so.
func ReservePort(host string, port int) (reserved int, release func(), err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))) //nolint:noctx // a port of this machine
	if err != nil {
		return 0, nil, err
	}
	return l.Addr().(*net.TCPAddr).Port, func() {}, l.Close()
}
