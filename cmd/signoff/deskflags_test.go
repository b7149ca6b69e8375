package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/internal/testcert"
)

func TestFlagsOfTheDeskThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"--desk-url", "desk.example.org"}, []string{"is no URL of a host", "such as https://desk.example.org, without a path"}},
		{[]string{"--desk-url", "https://"}, []string{"is no URL of a host"}},
		{[]string{"--desk-url", "https://desk.example.org/pages"}, []string{"has more than a scheme, a host and a port"}},
		{[]string{"--desk-url", "https://u:p@desk.example.org"}, []string{"has more than a scheme, a host and a port"}},
		{[]string{"--desk-url", "https://desk.example.org/?x"}, []string{"has more than a scheme, a host and a port"}},
		{[]string{"--desk-url", "ftp://desk.example.org"}, []string{"does not begin with https://"}},
		{[]string{"--desk-url", "http://desk.example.org"}, []string{"is plain text"}},
		{[]string{"--desk-trusted-proxy", "proxy.example.org"}, []string{`"proxy.example.org" is neither an address nor a prefix`}},
		{[]string{"--desk-trusted-proxy", "10.0.0.1", "--desk-trusted-proxy", "0.0.0.0/0"}, []string{"name the addresses of the proxies"}},
		{[]string{"--desk-listen", "0.0.0.0:0", "--insecure"}, []string{"over https only", "--tls-cert and --tls-key", "--desk-url", "--desk-listen off"}},
	} {
		refusal(t, exitUsage, append(serveArgs(t.TempDir()), c.args...), append(c.words, c.args[0])...)
	}
}

// PIs call the desk through a proxy that does TLS, replaces the host name and appends to
// X-Forwarded-For. Two of them have different addresses behind it.
func TestTheDeskBehindAProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	proxy := httptest.NewUnstartedServer(nil)
	settings := loopback()
	settings.DeskURL = "HTTPS://" + proxy.Listener.Addr().String() + "/"
	settings.DeskTrustedProxy = []string{"127.0.0.1", "192.0.2.0/24"}
	p, stop := startWith(t, dir, settings, slog.New(slog.DiscardHandler))
	addPI(t, dir, "rivera", "S")
	proxy.Config.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: p.DeskListener.Addr().String()})
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.Out.Header.Add("X-Forwarded-For", r.In.Header.Get("X-Test-Client")) // the address that the proxy sees
	}}
	proxy.StartTLS()
	t.Cleanup(proxy.Close)

	serving, _ := p.Dir.Running()
	if want := "https://" + proxy.Listener.Addr().String(); serving.DeskPublicURL != want || serving.DeskURL != "http://"+p.DeskListener.Addr().String() {
		t.Errorf("serve.json has %+v", serving)
	}
	var greeting bytes.Buffer
	greet(&greeting, p.Dir, "/base", serving)
	if !strings.Contains(greeting.String(), "desk        "+serving.DeskPublicURL+"/  (PIs)  "+serving.DeskURL+"/desk/v1  (source systems)\n") {
		t.Errorf("the greeting:\n%s", &greeting)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := proxy.Client()
	client.Jar, client.Timeout = jar, patience
	signIn := func(client *http.Client, from, password string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy.URL+"/sign-in", strings.NewReader(url.Values{"user": {"rivera"}, "password": {password}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", proxy.URL) // an old browser: it sends no Sec-Fetch-Site
		r.Header.Set("X-Forwarded-For", "192.0.2.9, 203.0.113.77")
		r.Header.Set("X-Test-Client", from)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // the request is counted before the answer ends
		_ = res.Body.Close()
		return res
	}
	for range 5 {
		if res := signIn(client, "203.0.113.1", "wrong"); res.StatusCode != http.StatusUnauthorized {
			t.Fatal(res.Status)
		}
	}
	if res := signIn(client, "203.0.113.1", testPassword); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the one who has failed: %s", res.Status)
	}
	if res := signIn(client, "203.0.113.2", testPassword); res.StatusCode != http.StatusOK || res.Request.URL.Path != "/waiting" {
		t.Errorf("the other one: %s at %s", res.Status, res.Request.URL)
	}
	_, text := operations(t, p, "/metrics")
	for _, want := range []string{
		"signoff_desk_sessions 1\n", "signoff_desk_live_streams 0\n", `signoff_desk_sign_ins_total{outcome="signed in"} 1`,
		`signoff_desk_sign_ins_total{outcome="refused"} 5`, `signoff_desk_sign_ins_total{outcome="throttled"} 1`, `signoff_desk_sign_ins_total{outcome="one-time password"} 0`,
		`signoff_desk_requests_total{class="4xx",route="/sign-in"} 6`, `signoff_desk_requests_total{class="2xx",route="/waiting"} 1`,
		`signoff_desk_signatures_total{check="contradicts"} 0`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	client.CloseIdleConnections()
	stop()
	if out := mustSignoff(t, "audit", "--data", dir, "--json").out; strings.Count(out, `"session.began"`) != 1 || !strings.Contains(out, `"shutdown"`) || !strings.Contains(out, `"203.0.113.2"`) {
		t.Errorf("the audit trail does not have the session:\n%s", out)
	}
}

// With TLS of its own, and on a port that is published to this machine alone, the desk starts.
func TestTheDeskOffLoopback(t *testing.T) {
	t.Parallel()
	pair := testcert.NewFiles(t)
	settings := loopback()
	settings.DeskListen, settings.TLSCert, settings.TLSKey = "0.0.0.0:0", pair.Cert, pair.Key
	_, stop := startWith(t, t.TempDir(), settings, slog.New(slog.DiscardHandler))
	stop()
	settings = loopback()
	settings.DeskListen, settings.Insecure, settings.DeskURL = "0.0.0.0:0", true, "http://127.0.0.1:8081"
	_, stop = startWith(t, t.TempDir(), settings, slog.New(slog.DiscardHandler))
	stop()
}
