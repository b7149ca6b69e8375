package brokertest

import (
	"net"
	"os"
	"syscall"
)

// ReservePort binds a socket to the port of a host, or to any free one if port is 0, and does
// not listen. Others can listen on the port if they set SO_REUSEADDR, as package net does.
// To the system it is in use: see ip(7) and the kernel's inet_csk_get_port.
func ReservePort(host string, port int) (reserved int, release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	release = func() { _ = syscall.Close(fd) }
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(host).To4())})
	}
	var address syscall.Sockaddr
	if err == nil {
		address, err = syscall.Getsockname(fd)
	}
	bound, ok := address.(*syscall.SockaddrInet4)
	if !ok {
		release()
		return 0, nil, os.NewSyscallError("bind", err)
	}
	return bound.Port, release, nil
}
