package natsd

import (
	"crypto/tls"
	"slices"
	"strings"
)

// CipherSuites returns the suites of TLS 1.2 that servers may use: those with forward
// secrecy and authenticated encryption. Those in CBC mode, which Go would allow too, have
// been broken by their timing again and again. TLS 1.3 has no others, so it has no setting.
func CipherSuites() []uint16 {
	var suites []uint16
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) && !strings.Contains(s.Name, "_CBC_") {
			suites = append(suites, s.ID)
		}
	}
	return suites
}
