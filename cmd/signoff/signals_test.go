package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
)

func TestOneSignalStopsTheServerWell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startPiped(t, dir, quietServe(dir)...)
	p.serving()
	p.ends(syscall.SIGTERM)
}

// A request that does not end delays an orderly stop; a second signal does not wait for it.
func TestASecondSignalKillsTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startPiped(t, dir, append(quietServe(dir), "--log-level", "debug")...)
	lines := p.lines()
	slow, err := net.Dial("tcp", p.serving().Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	request := "POST " + token.Path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
	if _, err := slow.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(slow).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("the request is not being read: %q, %v", line, err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for line := range lines { // until the first signal has been taken
		if strings.Contains(line, "msg=stopped") {
			break
		}
	}
	go func() {
		for range lines { // so that nothing is held up
		}
	}()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := p.Wait(); !errors.As(err, &ended) || !ended.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("after the second signal: %v, want an end by the signal", err)
	}
}

// piped is a child process whose standard output and error the test reads, or
// does not.
type piped struct {
	*exec.Cmd
	t        *testing.T
	dir      datadir.Dir
	out, err *os.File // the ends to read from
}

func startPiped(t *testing.T, dir string, args ...string) *piped {
	t.Helper()
	p := &piped{Cmd: child(t, "command", args...), t: t, dir: datadir.Dir(dir)}
	var ends [2]*os.File
	for i, end := range []**os.File{&p.out, &p.err} {
		var err error
		if *end, ends[i], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*end).Close() })
	}
	p.Stdout, p.Stderr = ends[0], ends[1]
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	for _, end := range ends {
		if err := end.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func quietServe(dir string) []string {
	return append(serveArgs(dir), "--nats-listen", "127.0.0.1:0")
}

// serving waits until the server is ready.
func (p *piped) serving() datadir.Serving {
	p.t.Helper()
	eventually(p.t, "a server that is ready", func() error {
		if r := signoff(p.t, "ready", "--data", string(p.dir)); r.status != exitDone {
			return errors.New(r.err)
		}
		return nil
	})
	s, ok := p.dir.Running()
	if !ok {
		p.t.Fatal("no server is running")
	}
	return s
}

// get returns the body of an answer with any status.
func (p *piped) get(url string) string {
	p.t.Helper()
	client := http.Client{Timeout: patience}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		p.t.Fatalf("the server does not answer: %v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("the server does not answer: %v", err)
	}
	return string(body)
}

var droppedMetric = regexp.MustCompile(`(?m)^signoff_dropped_lines_total\{stream="stderr"\} (\S+)$`)

// dropped returns the metric of lines that were not written to standard error.
func (p *piped) dropped(s datadir.Serving) (n int) {
	p.t.Helper()
	found := droppedMetric.FindStringSubmatch(p.get(s.OpsURL + "/metrics"))
	var f float64
	if len(found) == 2 {
		_, _ = fmt.Sscan(found[1], &f)
	}
	return int(f)
}

// ends sends a signal and checks that the program exits with status 0 and leaves no lock or
// serve.json.
func (p *piped) ends(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		p.t.Errorf("after the signal %s: %v, want status 0", s, err)
	}
	if p.dir.Locked() {
		p.t.Error("the data directory is locked")
	}
	if _, err := os.Stat(p.dir.ServeFile()); err == nil {
		p.t.Error("serve.json is left")
	}
}

// Requests are logged on standard error, a line each.
func TestAServerGoesOnWhenItsOutputHasNoReaderAnyMore(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before it is ready", "while it serves"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			p := startPiped(t, dir, quietServe(dir)...)
			if when == "before it is ready" {
				_, _ = p.out.Close(), p.err.Close()
			}
			s := p.serving()
			_, _ = p.out.Close(), p.err.Close()
			for range 10 {
				p.get(s.PublicURL + "/nothing")
			}
			eventually(t, "a count of dropped lines", func() error {
				if n := p.dropped(s); n < 10 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			p.ends(syscall.SIGTERM)
		})
	}
}

func TestAServerGoesOnWhenItsOutputIsNotRead(t *testing.T) {
	t.Parallel()
	for format, notice := range map[string]*regexp.Regexp{
		"text": regexp.MustCompile(`lines of this log were dropped.* lines=(\d+)`),
		"json": regexp.MustCompile(`lines of this log were dropped.*"lines":(\d+)`),
	} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			p := startPiped(t, dir, append(quietServe(dir), "--log-format", format, "--log-level", "debug")...)
			s := p.serving()
			path := s.PublicURL + "/" + strings.Repeat("x", 20_000) // which is in the log
			for asked := 0; p.dropped(s) == 0; asked++ {
				if asked == 1000 {
					t.Fatal("20 MB of log are kept")
				}
				p.get(path)
			}
			for range 10 {
				p.get(path)
			}
			if out := p.get(s.OpsURL + "/readyz"); !strings.Contains(out, "ok") {
				t.Errorf("readiness: %s", out)
			}
			// Now the log is read again.
			said := 0
			for lines := bufio.NewReader(p.err); said == 0; {
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if found := notice.FindStringSubmatch(line); found != nil {
					_, _ = fmt.Sscan(found[1], &said)
				}
			}
			if counted := p.dropped(s); said < 11 || said > counted {
				t.Errorf("the log reports that %d lines were dropped, the metrics %d", said, counted)
			}
			go func() { _, _ = io.Copy(io.Discard, p.err) }()
			p.ends(syscall.SIGTERM)
		})
	}
	t.Run("also at its end", func(t *testing.T) {
		dir := t.TempDir()
		p := startPiped(t, dir, append(quietServe(dir), "--log-level", "debug")...)
		s := p.serving()
		for p.dropped(s) == 0 {
			p.get(s.PublicURL + "/" + strings.Repeat("x", 20_000))
		}
		p.ends(syscall.SIGINT)
	})
}

func TestCommandsThatEndByThemselvesEndWithTheirReader(t *testing.T) {
	t.Parallel()
	p := startPiped(t, t.TempDir(), "--help")
	_ = p.out.Close()
	var ended *exec.ExitError
	if err := p.Wait(); err != nil && (!errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE) {
		t.Errorf("without a reader: %v", err)
	}
}

// nobody is the URL of a NATS server that does not exist. No program is given the port.
const nobody = "nats://127.0.0.1:1"

// lastLine holds what each command prints last when it is ready; waitsForNATS is what a
// command prints that cannot become ready.
var lastLine = map[string]string{"serve": "Stop with Ctrl-C", "demo": "Serving until"}

const waitsForNATS = "does not follow the stream"

// longRunningCommands returns the command lines of the commands that run until they are
// stopped.
func longRunningCommands(t *testing.T, dir string) map[string][]string {
	t.Helper()
	keys, err := operator.OpenKeys(datadir.Dir(dir).NATSKeys())
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.Answers().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	answers := filepath.Join(t.TempDir(), "answers.json")
	if err := os.WriteFile(answers, text, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := []string{"--nats-url", nobody, "--nats-creds", credentialFiles(t)}
	return map[string][]string{
		"serve":                                  append(quietServe(dir), "--log-level", "debug"),
		"serve, with a NATS server that is away": append(append(serveArgs(dir), "--log-level", "debug"), outside...),
		"callout, with a NATS server that is away": append([]string{"callout", "--data", dir, "--ops-listen", "127.0.0.1:0", "--login-key", answers, "--log-level", "debug"}, outside...),
		"demo": {"demo", "--data", filepath.Join(dir, "demo")},
	}
}

// lines reads what the child prints, on both streams, as it comes.
func (p *piped) lines() <-chan string {
	all := make(chan string)
	var reading sync.WaitGroup
	for _, end := range []*os.File{p.out, p.err} {
		reading.Go(func() {
			for lines := bufio.NewScanner(end); lines.Scan(); {
				all <- lines.Text()
			}
		})
	}
	go func() { reading.Wait(); close(all) }()
	return all
}

// TestASignalAtAnyMomentOfTheStartIsNoFailure stops each program after each of
// the first lines that it prints, up to where it serves.
func TestASignalAtAnyMomentOfTheStartIsNoFailure(t *testing.T) {
	t.Parallel()
	for name := range longRunningCommands(t, t.TempDir()) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			served := false
			for n := 1; n <= 100 && !served; n++ {
				p := startPiped(t, dir, longRunningCommands(t, dir)[name]...)
				if name == "demo" {
					p.dir = datadir.Dir(filepath.Join(dir, "demo"))
				}
				seen, lines := 0, p.lines()
				for line := range lines {
					served = strings.Contains(line, cmp.Or(lastLine[name], waitsForNATS))
					if seen++; seen == n || served {
						break
					}
				}
				go func() {
					for range lines { // so that nothing is held up
					}
				}()
				p.ends([]os.Signal{syscall.SIGTERM, syscall.SIGINT}[n%2])
				if t.Failed() {
					t.Fatalf("stopped after line %d", n)
				}
				if name == "demo" {
					n += 6 // it prints much
				}
			}
			if !served {
				t.Error("it was never ready")
			}
		})
	}
}

// A program waits for a NATS server that accepts connections and sends nothing, but not once
// it is told to stop.
func TestASignalWhileAServerIsSilent(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := silent.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := startPiped(t, dir, append(serveArgs(dir), "--log-level", "debug",
		"--nats-url", "nats://"+silent.Addr().String(), "--nats-creds", credentialFiles(t))...)
	waiting, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	lines := p.lines()
	said := make(chan string)
	go func() {
		var all strings.Builder
		for line := range lines {
			all.WriteString(line + "\n")
		}
		said <- all.String()
	}()
	p.ends(syscall.SIGTERM)
	if log := <-said; !strings.Contains(log, "not reached") || strings.Contains(log, "timeout") {
		t.Errorf("it waited for the server:\n%s", log)
	}
}

func TestNoProgramEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	for name := range longRunningCommands(t, t.TempDir()) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := startPiped(t, dir, longRunningCommands(t, dir)[name]...)
			if name == "demo" {
				p.dir = datadir.Dir(filepath.Join(dir, "demo"))
			}
			lines := p.lines()
			for line := range lines {
				if strings.Contains(line, cmp.Or(lastLine[name], waitsForNATS)) {
					break
				}
			}
			go func() {
				for range lines { // so that nothing is held up
				}
			}()
			for range 3 {
				if err := p.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
			p.ends(syscall.SIGTERM)
		})
	}
}
