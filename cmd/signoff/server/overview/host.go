package overview

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// CheckHost returns h for requests whose Host is a loopback name, the address at which the
// request arrived, or one of hosts; others are answered 421. A web page elsewhere whose name
// is made to resolve to this machine could otherwise read in an operator's browser what the
// listener answers. The port is not compared, because it differs behind a proxy.
func CheckHost(hosts []string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ours(r, hosts) {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "this host name is not served here; use the listener's address, or name the host with --ops-host", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// ours reports whether the request's Host is one that is served.
func ours(r *http.Request, hosts []string) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if address.Unmap().IsLoopback() || address.IsUnspecified() { // the latter is a listen address; commands call it
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	arrived, err := netip.ParseAddrPort(local.String())
	return err == nil && arrived.Addr().Unmap().WithZone("") == address.Unmap().WithZone("")
}
