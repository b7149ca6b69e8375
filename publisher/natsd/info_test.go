package natsd_test

import (
	"bufio"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestINFOShowsAStrangerNothingOfTheMachine(t *testing.T) {
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.ClientURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	// The versions of the server and of Go are among them: NATS always sends these.
	want := []string{
		"api_lvl", "auth_required", "client_id", "client_ip", "go", "headers", "host", "jetstream", "max_payload",
		"nonce", "port", "proto", "server_id", "server_name", "version", "xkey",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(info))); diff != "" {
		t.Errorf("INFO has other values (-want +got):\n%s", diff)
	}
	if info["host"] != "signoff" || info["server_name"] != "signoff" {
		t.Errorf("INFO names the host %q and the server %q", info["host"], info["server_name"])
	}
}
