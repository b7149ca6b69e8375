package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &piped{Cmd: childWithFiles(t, 300, quietServe(dir)...), t: t, dir: datadir.Dir(dir)}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	serving := p.serving()
	password := addPI(t, dir, "pi", "FHIR-T")
	add := func(partner string) (c credentials) {
		t.Helper()
		if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "add", partner, "--study", "FHIR-T", "--data", dir, "--json").out), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	acme := add("acme")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	sign := func(id string) {
		t.Helper()
		mustSignoff(t, append([]string{"sign", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir}, pinnedIDs(t, dir, id)...)...)
	}
	connected, err := partnerFollowing(t, serving, "acme", acme.Secret)
	if err != nil {
		t.Fatal(err)
	}
	sign("790")
	eventually(t, "the first report", func() error { return connected.has(2) })

	for _, l := range []struct{ name, address string }{
		{"the read API", serving.Listen}, {"NATS", strings.TrimPrefix(serving.NATS, "nats://")}, {"the operator's listener", serving.Ops},
	} {
		for range 600 {
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "tcp", l.address)
			if err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			defer conn.Close()
		}
		client := http.Client{Timeout: patience}
		for _, url := range []string{serving.PublicURL + serving.BasePath + "/metadata", serving.OpsURL + "/readyz"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatalf("%s has idle connections: %v", l.name, err)
			}
			if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
				t.Errorf("%s has idle connections: %s is answered %s", l.name, url, response.Status)
			}
		}
	}
	sign("792")
	eventually(t, "the second report, on the connection that was open before", func() error { return connected.has(4) })
	// NATS ends connections without a login after three seconds.
	other := add("other")
	var another *follower
	eventually(t, "another login at NATS", func() (err error) {
		another, err = partnerFollowing(t, serving, "other", other.Secret)
		return err
	})
	eventually(t, "all reports, on the new connection", func() error { return another.has(4) })
	p.ends(os.Interrupt)
}

// childWithFiles is child for a process that may open so many files.
func childWithFiles(t *testing.T, files int, args ...string) *exec.Cmd {
	t.Helper()
	cmd := child(t, "command", args...)
	cmd.Args = append([]string{"sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(files), cmd.Path}, args...)
	cmd.Path = "/bin/sh"
	return cmd
}

// partnerFollowing follows the study FHIR-T as a partner until the test ends.
func partnerFollowing(t *testing.T, s datadir.Serving, partnerID, secret string) (*follower, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	partner, err := subscriber.Dial(ctx, subscriber.Credentials{
		TokenURL: s.PublicURL + token.Path, ClientID: partnerID, Secret: subscriber.Secret(secret),
	}, s.NATS, subscriber.PartnerConfig{Outage: func(error) {}})
	if err != nil {
		cancel()
		return nil, err
	}
	f := &follower{}
	done := make(chan error, 1)
	go func() { done <- partner.Follow(ctx, "FHIR-T", f) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}
		partner.Close()
	})
	return f, nil
}
