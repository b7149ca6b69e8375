package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
)

// oddStudy is a study number with characters that have to be quoted.
const oddStudy = `O'Neil & "co" $(id) €1`

func TestTheQuickStartHasTheAddressesOfTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := mustSignoff(t, "partner", "add", "early", "--data", dir).out
	for _, want := range []string{"http://127.0.0.1:8080/msk-apim/", "nats://127.0.0.1:4222", "No server is running", "early=STUDY"} {
		if !strings.Contains(before, want) {
			t.Errorf("without a server it does not say %q:\n%s", want, before)
		}
	}
	p, _ := startServer(t, dir)
	added := mustSignoff(t, "partner", "add", "acme", "--study", "FHIR-T", "--study", "OTHER", "--data", dir).out
	for _, want := range []string{p.PublicURL() + "/msk-apim/", p.NATS.ClientURL(), "acme=FHIR-T", "crit.v1.OTHER.>"} {
		if !strings.Contains(added, want) {
			t.Errorf("it does not say %q:\n%s", want, added)
		}
	}
	credentials, start, _ := strings.Cut(added, "\n\n")
	if again := mustSignoff(t, "partner", "quickstart", "acme", "--data", dir).out; again != start {
		t.Errorf("printed again it is another one:\n%s", cmp.Diff(start, again))
	}
	secret := strings.Fields(credentials)[3]
	if len(secret) != 43 || strings.Contains(start, secret) {
		t.Errorf("the quick start holds the secret, or it was not found: %q", secret)
	}
	if lines := strings.Count(start, "\n"); lines > 60 {
		t.Errorf("%d lines are more than a screen", lines)
	}
	refusal(t, exitRefused, []string{"partner", "quickstart", "nobody", "--data", dir}, "there is no partner")
}

func TestTheQuickStartAsJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var got struct {
		ClientID, ClientSecret string
		credentials
		quickStart
	}
	out := mustSignoff(t, "partner", "add", "acme", "--study", oddStudy, "--json", "--data", dir).out
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != "acme" || got.Secret == "" {
		t.Errorf("credentials: %s", out)
	}
	const api = "http://127.0.0.1:8080/msk-apim/external"
	want := quickStart{
		Partner: "acme", TokenURL: api + "/msk-oidc/oauth2/token", BaseURL: api + "/v2/crit/blaze/api", NATS: "nats://127.0.0.1:4222",
		Stream: "SIGNOFF", Prefix: "js.signoff", Access: "crit.partner.acme.access",
	}
	name := got.Studies[0].StudyKey
	want.Studies = []studyStart{{
		Study: oddStudy, StudyKey: name, Consumer: "acme=" + name, Subject: "crit.v1." + name + ".>",
		Page: api + "/v2/crit/blaze/api/DiagnosticReport?researchstudy=O%27Neil%20%26%20%22co%22%20%24%28id%29%20%E2%82%AC1",
	}}
	if diff := cmp.Diff(want, got.quickStart, cmp.AllowUnexported(quickStart{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var again quickStart
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "quickstart", "acme", "--json", "--data", dir).out), &again); err != nil || !cmp.Equal(again, want, cmp.AllowUnexported(quickStart{})) {
		t.Errorf("printed again: %+v, %v", again, err)
	}
}

func TestWherePartnersReachNATS(t *testing.T) {
	t.Parallel()
	if got := partnersNATS(datadir.Serving{NATS: "tls://nats.internal:4222", NATSPublic: "tls://crit.example.org:4222"}); got != "tls://crit.example.org:4222" {
		t.Errorf("with the public URL of NATS, partners get %s", got)
	}
	for _, c := range []struct{ nats, public, want string }{
		{"", "", "nats://127.0.0.1:4222"},
		{"nats://127.0.0.1:5000", "http://127.0.0.1:8080", "nats://127.0.0.1:5000"},
		{"tls://0.0.0.0:4222", "https://crit.example.org", "tls://crit.example.org:4222"},
		{"tls://[::]:4222", "https://crit.example.org:8443/x", "tls://crit.example.org:4222"},
		{"tls://192.0.2.1:4222", "https://crit.example.org", "tls://192.0.2.1:4222"},
		{"tls://a:4222,tls://b:4222", "https://crit.example.org", "tls://a:4222"},
	} {
		if got := partnersNATS(datadir.Serving{NATS: c.nats, PublicURL: c.public}); got != c.want {
			t.Errorf("%s beside %s: %s, want %s", c.nats, c.public, got, c.want)
		}
	}
}

// quickStartRun follows the printed quick start in an empty directory.
type quickStartRun struct {
	t    *testing.T
	dir  string
	text string
}

// newQuickStartRun adds a partner and does the first step: it writes the secret to a file.
func newQuickStartRun(t *testing.T, data, id, study string) *quickStartRun {
	t.Helper()
	printed := mustSignoff(t, "partner", "add", id, "--study", study, "--data", data).out
	credentials, text, _ := strings.Cut(printed, "\n\n")
	n := &quickStartRun{t: t, dir: t.TempDir(), text: text}
	n.bash(n.step("# 1."), strings.Fields(credentials)[3]+"\n")
	info, err := os.Stat(filepath.Join(n.dir, id+".secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file with the secret: %v, %v", info, err)
	}
	return n
}

// step returns the lines from a heading to the next.
func (n *quickStartRun) step(heading string) string {
	n.t.Helper()
	_, text, ok := strings.Cut(n.text, "\n"+heading)
	if !ok {
		n.t.Fatalf("there is no step %s in\n%s", heading, n.text)
	}
	text, _, _ = strings.Cut(text, "\n# ")
	return "#" + text
}

// file returns what a step writes into a file.
func (n *quickStartRun) file(heading string) string {
	n.t.Helper()
	_, text, _ := strings.Cut(n.step(heading), "<<'EOF'\n")
	text, _, ok := strings.Cut(text, "EOF\n")
	if !ok {
		n.t.Fatalf("step %s writes no file", heading)
	}
	return text
}

func (n *quickStartRun) bash(script, input string) string {
	n.t.Helper()
	cmd := n.command("bash", "-euo", "pipefail", "-c", script)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// command returns a command in the directory. If the program is not installed, the test is
// skipped, unless the program is required.
func (n *quickStartRun) command(name string, args ...string) *exec.Cmd {
	n.t.Helper()
	path, err := exec.LookPath(name)
	required := map[string]string{"nats": "SIGNOFF_REQUIRE_NATS_CLI", "curl": "SIGNOFF_REQUIRE_CURL"}[name]
	switch {
	case err != nil && required != "" && os.Getenv(required) != "":
		n.t.Fatal(err)
	case err != nil:
		n.t.Skipf("there is no %s here", name)
	}
	cmd := exec.CommandContext(n.t.Context(), path, args...)
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=")
	return cmd
}

// write writes the file of a step.
func (n *quickStartRun) write(heading, name string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.WriteFile(path, []byte(n.file(heading)), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// running is a program that prints a line for each event.
type running struct {
	t          *testing.T
	cmd        *exec.Cmd
	lines      *bufio.Scanner
	complaints strings.Builder
}

// start runs a program until the test ends or stop is called.
func (n *quickStartRun) start(cmd *exec.Cmd) *running {
	n.t.Helper()
	r := &running{t: n.t, cmd: cmd}
	cmd.Stderr = &r.complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(r.stop)
	hung := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	n.t.Cleanup(func() { hung.Stop() })
	r.lines = bufio.NewScanner(out)
	r.lines.Buffer(nil, 1<<20)
	return r
}

// until reads to a line with the text, and returns the lines up to it.
func (r *running) until(text string) (lines []string) {
	r.t.Helper()
	for r.lines.Scan() {
		lines = append(lines, r.lines.Text())
		if strings.Contains(r.lines.Text(), text) {
			return lines
		}
	}
	r.stop()
	r.t.Fatalf("it never printed %q, but\n%s\n%s", text, strings.Join(lines, "\n"), r.complaints.String())
	return nil
}

func (r *running) stop() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // it was killed, perhaps twice
}

// signOne has an assessment of the study signed.
func signOne(t *testing.T, p *server.Server, id, study string) {
	t.Helper()
	a := killAssessment(id, 1, 1)
	a.Study = study
	if _, err := registerAndSign(t.Context(), p.Outbox, a); err != nil {
		t.Fatal(err)
	}
	awaitCaughtUp(t, p)
}

// signedReport is how the report of an assessment begins.
func signedReport(id string) string { return `"resourceType":"DiagnosticReport","id":"` + id + `"` }

// TestTheQuickStartLeadsToTheFirstEvent does what is printed for a partner,
// with the real programs, as far as they are installed here.
func TestTheQuickStartLeadsToTheFirstEvent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	addPI(t, dir, "pi", oddStudy)
	signOne(t, p, "first", oddStudy)

	t.Run("curl", func(t *testing.T) {
		n := newQuickStartRun(t, dir, "by-curl", oddStudy)
		n.command("curl")
		var page bundle
		if answer := n.bash(n.step("# 2."), ""); json.Unmarshal([]byte(answer), &page) != nil || page.Total != 1 {
			t.Errorf("the page is %s", answer)
		}
		var history struct {
			Type  string
			Total int
		}
		body, err := os.ReadFile(filepath.Join(n.dir, "by-curl.history"))
		if err != nil || json.Unmarshal(body, &history) != nil || history.Type != "history" || history.Total == 0 {
			t.Errorf("the history is %s (%v)", body, err)
		}
	})
	t.Run("nats", func(t *testing.T) {
		n := newQuickStartRun(t, dir, "by-nats", oddStudy)
		n.command("nats")
		next, live, _ := strings.Cut(n.step("# 3."), "\nnats sub ")
		secret, err := os.ReadFile(filepath.Join(n.dir, "by-nats.secret"))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "a login", func() error {
			nc, err := nats.Connect(p.NATS.ClientURL(), nats.UserInfo("by-nats", strings.TrimSpace(string(secret))))
			if err == nil {
				nc.Close()
			}
			return err
		})
		for range 2 { // the event is returned unread
			if answer := n.bash(next, ""); !strings.Contains(answer, "ce-sequence: 00000000000000000001") {
				t.Errorf("the next event is %s", answer)
			}
		}
		settings, _, _ := strings.Cut(next, "\nnats ")
		n.receivesLive(p, n.command("bash", "-c", settings+"\nexec nats sub "+live))
	})
	t.Run("Go", func(t *testing.T) {
		n := newQuickStartRun(t, dir, "by-go", oddStudy)
		program := filepath.Join(n.dir, "reader")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", program, n.write("# 4.", "main.go")) // of the packages as they are here
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		n.readsEachOnce(p, func() *exec.Cmd { return n.command(program) })
	})
	t.Run("Node", func(t *testing.T) {
		n := newQuickStartRun(t, dir, "by-node", oddStudy)
		n.write("# 5.", "main.mjs")
		n.installNode()
		n.readsEachOnce(p, func() *exec.Cmd { return n.command("node", "main.mjs") })
	})
}

// readsEachOnce runs a reader, stops it, and runs it again: events come from
// the first on, live ones too, and none of them a second time but perhaps the
// one in hand when it was stopped.
func (n *quickStartRun) readsEachOnce(p *server.Server, reader func() *exec.Cmd) {
	n.t.Helper()
	first := n.start(reader())
	seen := first.until(signedReport("first"))
	live := "live-" + n.t.Name()[strings.LastIndex(n.t.Name(), "/")+1:]
	signOne(n.t, p, live, oddStudy)
	first.until(signedReport(live))
	first.stop()
	again := "again-" + live
	signOne(n.t, p, again, oddStudy)
	for _, line := range n.start(reader()).until(signedReport(again)) {
		if slices.Contains(seen, line) {
			n.t.Errorf("after a restart it printed again %.200s", line)
		}
	}
}

// receivesLive runs a subscriber of live subjects until it has received a report. It does not
// show when it has subscribed, so reports are signed until then.
func (n *quickStartRun) receivesLive(p *server.Server, cmd *exec.Cmd) {
	n.t.Helper()
	listener := n.start(cmd)
	heard := make(chan bool, 1)
	go func() {
		for listener.lines.Scan() {
			if strings.Contains(listener.lines.Text(), `"resourceType":"DiagnosticReport","id":"live-`) {
				heard <- true
				return
			}
		}
		heard <- false
	}()
	for i, end := 0, time.Now().Add(patience); ; i++ {
		signOne(n.t, p, fmt.Sprint("live-", i), oddStudy)
		if time.Now().After(end) {
			n.t.Fatalf("it has heard nothing for %s", patience)
		}
		select {
		case ok := <-heard:
			if !ok {
				n.t.Errorf("it heard nothing: %s", listener.complaints.String())
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// installNode installs the package for Node as npm would.
func (n *quickStartRun) installNode() {
	n.t.Helper()
	source, err := filepath.Abs("../../subscriber/node")
	if err != nil {
		n.t.Fatal(err)
	}
	_, missing := exec.LookPath("node")
	if _, err := os.Stat(filepath.Join(source, "node_modules")); err != nil || missing != nil {
		if os.Getenv("SIGNOFF_REQUIRE_NODE") != "" {
			n.t.Fatal("Node or the packages of subscriber/node are not installed")
		}
		n.t.Skip("Node or the packages of subscriber/node are not installed")
	}
	modules := filepath.Join(n.dir, "node_modules")
	if err := os.Mkdir(modules, 0o700); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Symlink(source, filepath.Join(modules, "signoff-subscriber")); err != nil {
		n.t.Fatal(err)
	}
}
