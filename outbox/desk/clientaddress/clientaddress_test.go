package clientaddress_test

import (
	"net/http"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox/desk/clientaddress"
)

func TestTheClientIsTheLastHopThatIsNoProxy(t *testing.T) {
	proxies, err := clientaddress.Parse([]string{"10.0.0.0/8", "192.0.2.7", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		peer string
		sent []string
		want string
	}{
		"no proxy":                      {"198.51.100.4:5", nil, "198.51.100.4"},
		"forged by a client":            {"198.51.100.4:5", []string{"203.0.113.9"}, "198.51.100.4"},
		"one proxy":                     {"10.0.0.1:5", []string{"203.0.113.9"}, "203.0.113.9"},
		"forged before a proxy":         {"10.0.0.1:5", []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9"},
		"forged as a proxy's":           {"10.0.0.1:5", []string{"1.1.1.1, 10.9.9.9, 203.0.113.9"}, "203.0.113.9"},
		"two proxies":                   {"10.0.0.1:5", []string{"203.0.113.9, 192.0.2.7"}, "203.0.113.9"},
		"two headers":                   {"10.0.0.1:5", []string{"1.1.1.1", "203.0.113.9"}, "203.0.113.9"},
		"a proxy without the header":    {"10.0.0.1:5", nil, "10.0.0.1"},
		"only proxies":                  {"10.0.0.1:5", []string{"10.0.0.2"}, "10.0.0.2"},
		"no address":                    {"10.0.0.1:5", []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		"an empty entry":                {"10.0.0.1:5", []string{"203.0.113.9,"}, "10.0.0.1"},
		"with a port":                   {"10.0.0.1:5", []string{"203.0.113.9:1234"}, "203.0.113.9"},
		"IPv6 with a port":              {"[2001:db8::1]:5", []string{"[2001:dbf::9]:1234"}, "2001:dbf::9"},
		"IPv6 with a zone":              {"[fe80::1%eth0]:5", nil, "fe80::1"},
		"IPv4 in an IPv6 address":       {"[::ffff:10.0.0.1]:5", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		"a peer that has no IP address": {"@", []string{"203.0.113.9"}, "@"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		for _, value := range c.sent {
			r.Header.Add("X-Forwarded-For", value)
		}
		if got := proxies.Of(r); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestMalformedProxiesAreRefused(t *testing.T) {
	for _, text := range []string{"", "proxy.example.org", "10.0.0.0/33", "0.0.0.0/0", "::/0"} {
		if p, err := clientaddress.Parse([]string{"10.0.0.1", text}); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}
