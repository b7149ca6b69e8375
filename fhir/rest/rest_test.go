package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// logged collects what a server logs, as JSON lines.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// serve runs a wrapped handler on a real listener. When stop returns, every
// request has been logged.
func serve(t *testing.T, h http.HandlerFunc) (url string, log *logged, stop func()) {
	t.Helper()
	log = new(logged)
	logger := slog.New(rest.LogHandler(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	server := httptest.NewUnstartedServer(nil)
	server.Config = rest.NewServer(rest.Wrap(h, logger), logger, rest.ServerConfig{})
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, log, server.Close
}

// ask sends a request and returns the answer with its body. Headers are name,
// value, name, value ….
func ask(t *testing.T, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// outcome is an OperationOutcome of one issue, as a client reads it.
type outcome struct {
	Status      int    `json:"-"`
	Code        string `json:"code"`
	Severity    string `json:"severity"`
	Details     struct{ Text string }
	Diagnostics string
}

func readOutcome(t *testing.T, response *http.Response, body string) outcome {
	t.Helper()
	var read struct {
		ResourceType string
		Issue        []outcome
	}
	if err := json.Unmarshal([]byte(body), &read); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if read.ResourceType != "OperationOutcome" || len(read.Issue) != 1 || read.Issue[0].Severity != "error" {
		t.Fatalf("no OperationOutcome of one error: %s", body)
	}
	read.Issue[0].Status = response.StatusCode
	return read.Issue[0]
}

// lines returns the access log's records.
func (l *logged) lines(t *testing.T) (records []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		records = append(records, record)
	}
	return records
}
