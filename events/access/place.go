package access

import "net/netip"

// maxPlace bounds a text that is no address, in bytes.
const maxPlace = 64

// Place returns what counts as one place where attempts to sign in are counted:
// an IPv4 address, or the /64 of an IPv6 address, which its holder can choose
// from at will. A port is left out; a text that is no address, such as
// "local", is a place of its own.
func Place(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		port, err := netip.ParseAddrPort(address)
		if err != nil {
			return address[:min(len(address), maxPlace)]
		}
		ip = port.Addr()
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
