package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

// readiness asks /readyz.
func readiness(t *testing.T, p *server.Server) (status int, findings map[string]string) {
	t.Helper()
	status, body := operations(t, p, "/readyz")
	if err := json.Unmarshal(body, &findings); err != nil {
		t.Fatal(err)
	}
	return status, findings
}

// awaitReady waits until the server is ready, and returns what /readyz answers. A slow machine
// may end readiness for a moment, for example if a request to NATS times out.
func awaitReady(t *testing.T, p *server.Server) (findings map[string]string) {
	t.Helper()
	eventually(t, "readiness", func() error {
		status, answered := readiness(t, p)
		if status != http.StatusOK {
			return fmt.Errorf("%d %v", status, answered)
		}
		findings = answered
		return nil
	})
	return findings
}

// operations gets a page for operators.
func operations(t *testing.T, p *server.Server, path string) (status int, body []byte) {
	t.Helper()
	response, err := http.Get("http://" + p.OpsListener.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func TestReadinessEndsWhenTheReadModelStops(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	awaitReady(t, p)
	nc, err := p.NATS.Connect(natsd.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("in.crit.v1.S1.DiagnosticReport.signed", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an end of readiness", func() error {
		status, findings := readiness(t, p)
		if status != http.StatusServiceUnavailable || findings["readModel"] == "ok" {
			return fmt.Errorf("%d %v", status, findings)
		}
		return nil
	})
}

// While another process keeps the outbox locked, /readyz takes as long as it may. The command
// must wait for that, or it would not know the reason.
func TestTheCommandReadyNamesAConditionThatIsNotFoundOutInTime(t *testing.T) {
	t.Parallel()
	begun := time.Now().Truncate(time.Microsecond)
	dir := t.TempDir()
	startServer(t, dir)
	unlock := lockOutbox(t, dir, begun)
	eventually(t, "the condition", func() error { // the answer of a slow server may be late
		r := signoff(t, "ready", "--data", dir)
		if r.status != exitRefused || !strings.Contains(r.err, "outbox: ") || strings.Contains(r.err, "/readyz: ") {
			return fmt.Errorf("with the outbox locked: status %d\n%s", r.status, r.err)
		}
		return nil
	})
	unlock()
	eventually(t, "readiness when it is free", func() error {
		if r := signoff(t, "ready", "--data", dir); r.status != exitDone {
			return errors.New(r.err)
		}
		return nil
	})
}

func TestAnUncleanPathIsAnOutcomeNotARedirect(t *testing.T) {
	t.Parallel()
	p, _ := startServer(t, t.TempDir())
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"//DiagnosticReport", "/msk-apim//external/x", "/a/../b", "/msk-apim/external/msk-oidc/oauth2/./token"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.PublicURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var outcome struct{ ResourceType string }
		if err := json.NewDecoder(response.Body).Decode(&outcome); err != nil || response.StatusCode != 404 || outcome.ResourceType != "OperationOutcome" {
			t.Errorf("%s: %d, %+v, %v", path, response.StatusCode, outcome, err)
		}
		response.Body.Close()
	}
}
