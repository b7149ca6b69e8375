package natsflags

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

// LoopbackOnly reports whether an address can be reached from this machine only. It
// returns false for a host name that cannot be looked up, and true for a malformed
// address, because listening on that fails anyway.
func LoopbackOnly(ctx context.Context, address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true
	}
	if host == "" { // all addresses of the machine
		return false
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return err == nil && len(ips) > 0 && !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !ip.Unmap().IsLoopback() })
}
