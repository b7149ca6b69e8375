// Package clientaddress finds the address from which a request comes, also behind proxies.
// Wrong passwords are counted by it, and the audit trail has it.
package clientaddress

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the addresses of proxies whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

// Parse returns the proxies that texts name, each an address or a prefix such as 10.0.0.0/8.
func Parse(texts []string) (Proxies, error) {
	var proxies Proxies
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/8", text)
			}
			address = address.Unmap().WithZone("")
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		if prefix.Bits() == 0 {
			return nil, fmt.Errorf("%q is every address, so each client could choose its own; name the addresses of the proxies", text)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}

// Of returns the address of the client without its port. X-Forwarded-For counts only from a
// proxy, and of its addresses the last one that is not a proxy's itself: each proxy adds the
// address that it sees at the end, and the client can write anything before that. If that
// entry is no address, Of returns the address of the proxy that has sent it.
func (p Proxies) Of(r *http.Request) string {
	address, ok := parse(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && p.Contain(address); i-- {
		hop, ok := parse(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		address = hop
	}
	return address.String()
}

// parse returns the address in a text, which may have a port.
func parse(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}

// Contain reports whether the address is that of a proxy.
func (p Proxies) Contain(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}
