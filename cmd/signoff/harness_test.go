package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/tokenkey"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// childVariable makes the re-executed test binary run a command line of signoff, or one of
// the tests' child processes.
const childVariable = "SIGNOFF_TEST_CHILD"

func TestMain(m *testing.M) {
	datadir.AppliedTimeout, tokenkey.RotationTimeout = time.Minute, time.Minute // a slow machine may need longer
	switch os.Getenv(childVariable) {
	case "":
		// Tests wait for servers most of the time, so more of them run at once than there are processors.
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	case "command":
		main()
	case "nats-server":
		os.Exit(natsServerChild())
	case "signer":
		os.Exit(signerChild())
	case "refill":
		os.Exit(refillChild())
	case "rotation":
		os.Exit(rotationChild())
	}
}

// child returns a command that runs the test binary as a child process.
func child(t *testing.T, kind string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childVariable+"="+kind, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// loopback are settings that take free ports.
func loopback() server.Settings {
	return server.Settings{
		TokenIssuer: "https://signoff.test/token", // the same after another start, when the port is another one
		Listen:      "127.0.0.1:0", OpsListen: "127.0.0.1:0", DeskListen: "127.0.0.1:0", NATSListen: "127.0.0.1:0",
		BasePath: "/msk-apim/external/v2/crit/blaze/api", MaxCount: 1000,
	}
}

// startServer runs the whole program on dir until the test ends or stop is called. Stop
// fails the test if the program returns an error.
func startServer(t testing.TB, dir string) (*server.Server, func()) {
	t.Helper()
	return startWith(t, dir, loopback(), slog.New(slog.DiscardHandler))
}

// startWith is startServer with other settings and another log.
func startWith(t testing.TB, dir string, s server.Settings, log *slog.Logger) (*server.Server, func()) {
	t.Helper()
	p, err := server.Open(t.Context(), datadir.Dir(dir), s, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.Run(ctx, func(datadir.Serving) { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("the program ended before it was ready: %v", err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return p, stop
}

// result is how a command ended and what it printed.
type result struct {
	status   int
	out, err string
}

// signoff runs a command line within the test.
func signoff(t *testing.T, args ...string) result {
	t.Helper()
	return signoffReading(t, "", args...)
}

// signoffReading is signoff with something on standard input.
func signoffReading(t *testing.T, input string, args ...string) result {
	t.Helper()
	var out, complaints bytes.Buffer
	status := run(t.Context(), args, console.Terminal{In: strings.NewReader(input), Out: &out, Err: &complaints})
	return result{status, out.String(), complaints.String()}
}

// mustSignoff is signoff that must exit with status 0.
func mustSignoff(t *testing.T, args ...string) result {
	t.Helper()
	r := signoff(t, args...)
	if r.status != exitDone {
		t.Fatalf("signoff %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.err)
	}
	return r
}

// pinnedIDs returns the assessments with the version that waits, or was signed
// last, and its digest, as sign takes them beside a password file.
func pinnedIDs(t *testing.T, dir string, ids ...string) []string {
	t.Helper()
	pins := make([]string, len(ids))
	for i, id := range ids {
		var facts versionFacts
		if err := json.Unmarshal([]byte(mustSignoff(t, "show", id, "--json", "--data", dir).out), &facts); err != nil {
			t.Fatal(err)
		}
		pins[i] = pinned(facts.Shown.Waiting, true)
	}
	return pins
}

const testPassword = "correct horse battery staple"

// passwordFile holds the password of the tests' PIs.
func passwordFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// partnerClient calls the read API as a partner.
type partnerClient struct {
	t     *testing.T
	p     *server.Server
	id    string
	token string
}

// newPartner adds a partner with the command line and gets it an access token.
func newPartner(t *testing.T, p *server.Server, id string, studies ...string) *partnerClient {
	t.Helper()
	client, _ := newPartnerWithSecret(t, p, id, studies...)
	return client
}

// newPartnerWithSecret is newPartner that also returns the client secret.
func newPartnerWithSecret(t *testing.T, p *server.Server, id string, studies ...string) (client *partnerClient, secret string) {
	t.Helper()
	args := []string{"partner", "add", id, "--data", string(p.Dir), "--json"}
	for _, s := range studies {
		args = append(args, "--study", s)
	}
	var c credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, args...).out), &c); err != nil {
		t.Fatal(err)
	}
	client = &partnerClient{t: t, p: p, id: id}
	client.token = client.signIn(c.Secret)
	return client, c.Secret
}

// signIn returns an access token. The endpoint answers 503 while the partner, its secret or
// the key is not applied yet.
func (c *partnerClient) signIn(secret string) string {
	c.t.Helper()
	form := url.Values{
		"client_id": {c.id}, "client_secret": {secret},
		"grant_type": {"client_credentials"}, "scope": {"full"},
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	eventually(c.t, "an access token", func() error {
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.p.PublicURL()+token.Path, strings.NewReader(form.Encode()))
		if err != nil {
			c.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		status, body := c.do(req)
		if status == http.StatusServiceUnavailable {
			return fmt.Errorf("%s", body)
		}
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
			c.t.Fatalf("token endpoint: %d %s", status, body)
		}
		return nil
	})
	return answer.AccessToken
}

// login logs in to NATS as a partner.
func login(address, id, secret string) (*nats.Conn, error) {
	return nats.Connect(address, nats.UserInfo(id, secret), nats.NoReconnect(), nats.Timeout(10*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// opensConsumer returns an error unless a login at NATS opens the study's consumer.
func opensConsumer(address, id, secret, study string) error {
	nc, err := login(address, id, secret)
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF."+events.PartnerConsumer(id, events.StudyKey(study)), nil, time.Second)
	return err
}

// awaitConsumer waits until logins at NATS open the study's consumer. A client that logs in
// before may take it that it is not granted the study.
func awaitConsumer(t *testing.T, address, id, secret, study string) {
	t.Helper()
	eventually(t, "the consumer of "+id+" for "+study, func() error { return opensConsumer(address, id, secret, study) })
}

// get calls the read API; path starts after the base path.
func (c *partnerClient) get(path string) (status int, body []byte) {
	c.t.Helper()
	return c.getURL(c.p.PublicURL() + c.p.Settings.BasePath + path)
}

func (c *partnerClient) getURL(address string) (status int, body []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("X-Partnerid", c.id)
	return c.do(req)
}

func (c *partnerClient) do(req *http.Request) (status int, body []byte) {
	c.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, body
}

// bundle is the part of a searchset that the tests check.
type bundle struct {
	Total int
	Link  []struct{ Relation, URL string }
	Entry []struct {
		FullURL  string
		Resource json.RawMessage
	}
}

// pages follows the next links of a search to its end.
func (c *partnerClient) pages(path string) (reports []json.RawMessage, total int) {
	c.t.Helper()
	address := c.p.PublicURL() + c.p.Settings.BasePath + path
	for address != "" {
		status, body := c.getURL(address)
		var b bundle
		if err := json.Unmarshal(body, &b); err != nil || status != http.StatusOK {
			c.t.Fatalf("GET %s: %d %.300s", address, status, body)
		}
		total, address = b.Total, ""
		for _, e := range b.Entry {
			reports = append(reports, e.Resource)
		}
		for _, l := range b.Link {
			if l.Relation == "next" {
				address = l.URL
			}
		}
	}
	return reports, total
}

// outcome reads the text of an OperationOutcome.
func outcome(t *testing.T, body []byte) string {
	t.Helper()
	var o struct {
		ResourceType string
		Issue        []struct {
			Code    string
			Details struct{ Text string }
		}
	}
	if err := json.Unmarshal(body, &o); err != nil || o.ResourceType != "OperationOutcome" || len(o.Issue) != 1 {
		t.Fatalf("no OperationOutcome: %.300s", body)
	}
	return fmt.Sprintf("%s: %s", o.Issue[0].Code, o.Issue[0].Details.Text)
}
