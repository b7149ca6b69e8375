package subscriber_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// needNode skips the test where Node 20 or the packages of the subscriber in
// the directory node are missing, and fails it where they must be there.
func needNode(t *testing.T) {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("SIGNOFF_REQUIRE_NODE") != "" {
		missing = t.Fatalf
	}
	version, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	if err != nil {
		missing("Node is not there: %v", err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 20 {
		missing("Node %s is older than 20", bytes.TrimSpace(version))
	}
	if _, err := os.Stat("node/node_modules"); err != nil {
		missing("the packages are not there: run npm ci in subscriber/node")
	}
}

func TestNodeOnItsOwn(t *testing.T) {
	needNode(t)
	files, err := filepath.Glob("node/test/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), "node", append([]string{"--test"}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// nodeLine is a line of node/test/reader.js: an event, an outage or the end.
type nodeLine struct {
	Position json.RawMessage `json:"position"`
	ID       string          `json:"id"`
	Data     json.RawMessage `json:"data"`
	Outage   *string         `json:"outage"`
	Ended    string          `json:"ended"`
	Message  string          `json:"message"`
}

// nodeReader is a running node/test/reader.js.
type nodeReader struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan nodeLine
}

// startNode runs a subscriber of study S1 at the server, with changes to its
// options, until the test ends.
func startNode(t *testing.T, d *partnerServer, changes map[string]any) *nodeReader {
	t.Helper()
	return startNodeAt(t, d.url(), d.endpoint.URL, changes)
}

func startNodeAt(t *testing.T, url, tokenURL string, changes map[string]any) *nodeReader {
	t.Helper()
	options := map[string]any{
		"servers": url, "tokenURL": tokenURL, "clientId": acme, "clientSecret": secret, "study": "S1", "patience": 1000,
		"connection": map[string]any{"timeout": enough.Milliseconds()},
	}
	maps.Copy(options, changes)
	input, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	r := &nodeReader{t: t, lines: make(chan nodeLine, 10000)}
	r.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "node", "node/test/reader.js")
	r.cmd.Stdin, r.cmd.Stderr = bytes.NewReader(input), t.Output()
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for lines := bufio.NewReader(out); ; {
			var line nodeLine
			text, err := lines.ReadBytes('\n')
			if err != nil || json.Unmarshal(text, &line) != nil {
				return
			}
			r.lines <- line
		}
	}()
	t.Cleanup(func() { r.kill() })
	return r
}

// kill ends the subscriber without warning, and returns the events of which it
// had written the line by then, that is, which it had stored.
func (r *nodeReader) kill() (stored []nodeLine) {
	_ = r.cmd.Process.Kill() // may have ended already
	for line := range r.lines {
		if line.ID != "" {
			stored = append(stored, line)
		}
	}
	_ = r.cmd.Wait()
	return stored
}

// line returns the next line.
func (r *nodeReader) line() nodeLine {
	r.t.Helper()
	select {
	case line, ok := <-r.lines:
		if !ok {
			r.t.Fatal("the subscriber ended without a word")
		}
		return line
	case <-time.After(enough):
		r.t.Fatal("nothing arrives")
	}
	return nodeLine{}
}

// next returns the next line that is not about an outage.
func (r *nodeReader) next() nodeLine {
	r.t.Helper()
	for {
		if line := r.line(); line.Outage == nil {
			return line
		}
	}
}

// take returns the next n events.
func (r *nodeReader) take(n int) (lines []nodeLine) {
	r.t.Helper()
	for range n {
		line := r.next()
		if line.Ended != "" {
			r.t.Fatalf("ended after %d of %d events: %s, %s", len(lines), n, line.Ended, line.Message)
		}
		lines = append(lines, line)
	}
	return lines
}

// ends wants the subscriber to end next, with the code.
func (r *nodeReader) ends(code string) {
	r.t.Helper()
	if line := r.next(); line.Ended != code {
		r.t.Errorf("instead of %s: %s %s %s", code, line.Ended, line.Message, line.ID)
	}
}

// stop ends the subscriber as its operator would.
func (r *nodeReader) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	r.ends("stopped")
}

// compareNode compares what a subscriber got with what was published.
func compareNode(t *testing.T, want []events.Event, got []nodeLine) {
	t.Helper()
	type seen struct{ ID, Data string }
	var published, arrived []seen
	for _, e := range want {
		published = append(published, seen{e.ID, string(e.Data)})
	}
	for _, line := range got {
		var data string
		if err := json.Unmarshal(line.Data, &data); err != nil {
			t.Fatalf("the data of %s is no text: %v", line.ID, err)
		}
		arrived = append(arrived, seen{line.ID, data})
	}
	if diff := cmp.Diff(published, arrived); diff != "" {
		t.Errorf("events (-published +received):\n%s", diff)
	}
}

// holdOn has the broker wait so long for acknowledgements that nothing comes
// again by itself.
func holdOn(t *testing.T, d *partnerServer) {
	t.Helper()
	if err := d.consumer("S1", func(cfg *jetstream.ConsumerConfig) { cfg.AckWait = time.Hour }); err != nil {
		t.Fatal(err)
	}
}

// fetch takes messages of S1 as another reader of the same consumer.
func fetch(t *testing.T, d *partnerServer, n int) (list []jetstream.Msg) {
	t.Helper()
	c, err := d.js.Consumer(t.Context(), events.Stream, consumerName("S1"))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(enough))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		list = append(list, m)
	}
	if len(list) != n {
		t.Fatalf("%d of %d messages fetched", len(list), n)
	}
	return list
}

func TestNode(t *testing.T) {
	needNode(t)

	t.Run("receives present and later events, byte for byte", func(t *testing.T) {
		d, s := newServer(t, "S1", "S2"), &study{key: "S1"}
		want := s.take(300)
		publish(t, d, (&study{key: "S2"}).take(3)...)
		publish(t, d, want...)
		r := startNode(t, d, nil)
		got := r.take(len(want))
		for range 3 {
			e := s.next()
			publish(t, d, e)
			want, got = append(want, e), append(got, r.take(1)...)
		}
		r.stop()
		compareNode(t, want, got)
	})

	t.Run("continues from a stored position", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		want := s.take(20)
		publish(t, d, want[:10]...)
		r := startNode(t, d, nil)
		got := r.take(10)
		r.stop()
		publish(t, d, want[10:]...)
		r = startNode(t, d, map[string]any{"position": got[9].Position})
		got = append(got, r.take(10)...)
		r.stop()
		compareNode(t, want, got)
	})

	t.Run("continues after each kill -9 behind the stored position", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		holdOn(t, d)
		want := s.take(1000)
		publish(t, d, want...)
		var got []nodeLine
		options := map[string]any{}
		for len(got) < len(want) {
			r := startNode(t, d, options)
			got = append(got, r.take(min(200, len(want)-len(got)))...)
			got = append(got, r.kill()...)
			options["position"] = got[len(got)-1].Position
		}
		compareNode(t, want, got)
	})

	t.Run("puts in order what an earlier connection left behind", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		holdOn(t, d)
		want := s.take(10)
		publish(t, d, want...)
		left := fetch(t, d, 5)
		if err := left[1].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := left[0].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		position := map[string]any{"sequence": events.FormatNumber(2), "hash": want[1].Hash, "stream": 2}
		compareNode(t, want[2:], startNode(t, d, map[string]any{"position": position}).take(8))
	})

	t.Run("loses and repeats nothing while its line is cut again and again", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		holdOn(t, d)
		var want []events.Event
		var got []nodeLine
		r := startNode(t, d, map[string]any{"batch": 20})
		for range 5 {
			list := s.take(200)
			want = append(want, list...)
			publish(t, d, list...)
			got = append(got, r.take(50)...)
			d.disconnect()
		}
		got = append(got, r.take(len(want)-len(got))...)
		r.stop()
		compareNode(t, want, got)
	})

	t.Run("waits for a broker that restarts", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		want := s.take(20)
		publish(t, d, want[:10]...)
		r := startNode(t, d, nil)
		got := r.take(10)
		d.stop()
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
		publish(t, d, want[10:]...)
		got = append(got, r.take(10)...)
		r.stop()
		compareNode(t, want, got)
	})

	t.Run("has a fresh access token when the broker wants it to log in again", func(t *testing.T) {
		d, s := newServer(t, "S1"), &study{key: "S1"}
		want := s.take(2)
		publish(t, d, want[0])
		r := startNode(t, d, nil)
		got := r.take(1)
		d.change(func() { clear(d.tokens) }) // as if they had expired
		d.disconnect()
		publish(t, d, want[1])
		compareNode(t, want, append(got, r.take(1)...))
		r.stop()
	})

	t.Run("reads the announcements of its access", func(t *testing.T) {
		d, s := newServer(t), &study{key: events.PartnerStudy(acme)}
		announced := s.announce(events.AccessGranted, "S1")
		publish(t, d, announced)
		got := startNode(t, d, map[string]any{"study": nil}).take(1)
		if got[0].ID != announced.ID || !strings.Contains(string(got[0].Data), `"study":"S1"`) {
			t.Errorf("got %s %s", got[0].ID, got[0].Data)
		}
	})
}
