package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/token"
)

// nodeReader is the Node subscriber, run by a partner of the whole program.
type nodeReader struct {
	t     *testing.T
	lines *bufio.Scanner
}

// nodeLine is what it prints: an event, an outage, or at last how it ended.
type nodeLine struct {
	ID      string          `json:"id"`
	Data    json.RawMessage `json:"data"`
	Outage  *string         `json:"outage"`
	Ended   string          `json:"ended"`
	Message string          `json:"message"`
}

// readInNode starts it. Without Node or the packages the test is skipped, or fails if they
// are required.
func readInNode(t *testing.T, options map[string]any) *nodeReader {
	t.Helper()
	const dir = "../../subscriber/node"
	_, missing := exec.LookPath("node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil || missing != nil {
		if os.Getenv("SIGNOFF_REQUIRE_NODE") != "" {
			t.Fatal("Node or the packages of subscriber/node are not installed")
		}
		t.Skip("Node or the packages of subscriber/node are not installed")
	}
	input, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	cmd := exec.CommandContext(ctx, "node", filepath.Join(dir, "test", "reader.js"))
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(input)), t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 8<<20)
	return &nodeReader{t: t, lines: lines}
}

// next returns the next line that is not about an outage.
func (r *nodeReader) next() (line nodeLine) {
	r.t.Helper()
	for r.lines.Scan() {
		line = nodeLine{}
		if err := json.Unmarshal(r.lines.Bytes(), &line); err != nil {
			r.t.Fatal(err)
		}
		if line.Outage == nil {
			return line
		}
	}
	r.t.Fatal("the subscriber in Node ended without a word, or too little arrived in time")
	return line
}

// receives checks that these events come next, byte for byte.
func (r *nodeReader) receives(want []events.Event) {
	r.t.Helper()
	for _, e := range want {
		line := r.next()
		if line.Ended != "" {
			r.t.Fatalf("%s: %s", line.Ended, line.Message)
		}
		var data string
		if err := json.Unmarshal(line.Data, &data); err != nil || line.ID != e.ID || data != string(e.Data) {
			r.t.Fatalf("instead of %s: %s %s (%v)", e.ID, line.ID, line.Data, err)
		}
	}
}

func TestAPartnerReadsInNode(t *testing.T) {
	t.Parallel()
	const study = "DEMO-01"
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	password := addPI(t, dir, "pi", study)
	mustSignoff(t, "import", "demo/synthetic.ndjson", "--data", dir)
	sign := func(ids ...string) (all []events.Event) {
		mustSignoff(t, append([]string{"sign", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir}, pinnedIDs(t, dir, ids...)...)...)
		awaitCaughtUp(t, p)
		entries, err := p.Outbox.Source().Recorded(t.Context(), 1, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Event.Study == events.StudyKey(study) {
				all = append(all, e.Event)
			}
		}
		return all
	}
	var c credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "add", "acme", "--study", study, "--json", "--data", dir).out), &c); err != nil {
		t.Fatal(err)
	}
	options := map[string]any{
		"servers": p.NATS.ClientURL(), "tokenURL": p.PublicURL() + token.Path, "clientId": "acme", "clientSecret": c.Secret, "study": study,
	}
	address := p.NATS.ClientURL()
	awaitConsumer(t, address, "acme", c.Secret, study)

	signed := sign("2001", "2002", "2003")
	r := readInNode(t, options)
	r.receives(signed)
	more := sign("2004", "2005")
	r.receives(more[len(signed):])

	mustSignoff(t, "partner", "revoke", "acme", study, "--data", dir)
	if line := r.next(); line.Ended != "access-ended" {
		t.Errorf("after the study was revoked: %+v", line)
	}

	mustSignoff(t, "partner", "grant", "acme", study, "--data", dir)
	awaitConsumer(t, address, "acme", c.Secret, study)
	r = readInNode(t, options)
	r.receives(sign("2006")) // a grant delivers the study from its first event on

	delete(options, "tokenURL") // id and secret as user and password
	delete(options, "study")
	r = readInNode(t, options)
	for _, kind := range []events.Kind{events.AccessGranted, events.AccessRevoked, events.AccessGranted} {
		if line := r.next(); !strings.Contains(string(line.Data), `"study":"`+study+`"`) {
			t.Errorf("instead of the announcement %s: %+v", kind, line)
		}
	}
	mustSignoff(t, "partner", "remove", "acme", "--data", dir)
}
