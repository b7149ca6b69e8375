package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server/overview"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// overviewFacts is the part of /overview.json that the tests check.
type overviewFacts struct {
	State, Sentence              string
	Recorded, Published, Applied uint64
	Findings                     []overview.Finding
	Parked                       []struct {
		Study, Reason, Command string
		FirstEvent             uint64
	}
	Partners  []struct{ Partner, Study string }
	Recent    []struct{ Kind string }
	Incidents []struct{ Text string }
}

func readOverview(t *testing.T, p *server.Server) (f overviewFacts) {
	t.Helper()
	status, body := operations(t, p, "/overview.json")
	if err := json.Unmarshal(body, &f); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	return f
}

// opsRequest sends a request to the operator's address with a Host header.
func opsRequest(ctx context.Context, t *testing.T, p *server.Server, path, host string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.OpsListener.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// parkedInstallation returns a data directory in which the seed is signed and its study is
// parked, so that nothing of it is published.
func parkedInstallation(t *testing.T) (dir, study string) {
	t.Helper()
	dir, study = t.TempDir(), "FHIR-T"
	password := addPI(t, dir, "rivera", study)
	mustSignoff(t, "partner", "add", "acme", "--study", study, "--data", dir)
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	mustSignoff(t, "sign", "--study", study, "--yes", "--all", "--as", "rivera", "--meaning", meaning, "--password-file", password, "--data", dir)
	o, err := outbox.Open(t.Context(), datadir.Dir(dir).Outbox(), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Source().Park(t.Context(), study, "event 1 is too large for 10.4.2.17:4222; see "+dir+"/outbox.db"); err != nil {
		t.Fatal(err)
	}
	return dir, study
}

// A study is parked and released, and the operator's page shows both while it is open.
func TestTheOverviewFollowsTheServer(t *testing.T) {
	dir, study := parkedInstallation(t)
	p, stop := startServer(t, dir)

	eventually(t, "a parked study, and nothing else to attend to", func() error {
		f := readOverview(t, p)
		if len(f.Parked) != 1 || f.Parked[0].Study != study || f.Parked[0].FirstEvent != 1 || f.Parked[0].Command != "signoff release FHIR-T" {
			return fmt.Errorf("parked: %+v", f.Parked)
		}
		if f.State != "bad" || f.Sentence != "One study is parked" || f.Recorded <= f.Published || len(f.Partners) != 1 || f.Partners[0].Partner != "acme" {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	for _, path := range []string{"/", "/overview.json"} {
		status, body := operations(t, p, path)
		if status != http.StatusOK {
			t.Fatalf("%s: %d", path, status)
		}
		if !strings.Contains(string(body), study) {
			t.Errorf("%s does not name the study", path)
		}
		for _, secret := range []string{"10081007", "rivera", "P. Investigator", dir, "10.4.2.17", "outbox.db", meaning, " mm", "mm\"", "Partial Response", fmt.Sprintf("process %d", os.Getpid())} {
			if strings.Contains(string(body), secret) {
				t.Errorf("%s contains %q", path, secret)
			}
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream := opsRequest(ctx, t, p, "/live", "localhost")
	lines := bufio.NewScanner(stream.Body)
	if kind := stream.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("%d %s", stream.StatusCode, kind)
	}
	mustSignoff(t, "release", study, "--data", dir)
	for released := false; !released; {
		if !lines.Scan() {
			t.Fatalf("the stream ended before the page showed the release: %v", lines.Err())
		}
		if lines.Text() != "event: look" {
			continue
		}
		_, body := operations(t, p, "/")
		released = !strings.Contains(string(body), "Parked studies") && strings.Contains(string(body), "All published")
	}
	var f overviewFacts
	eventually(t, "all events to be published", func() error {
		if f = readOverview(t, p); len(f.Recent) == 0 || f.Recorded != f.Published {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	var texts []string
	for _, i := range f.Incidents {
		texts = append(texts, i.Text)
	}
	want := []string{study + " released", "release of " + study + " requested", study + " parked by the publisher"}
	if !slices.Equal(texts, want) {
		t.Errorf("incidents %q, want %q", texts, want)
	}

	stop() // with the stream open
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream did not end with the server: %v", err)
	}
}

func TestTheOperatorsAddress(t *testing.T) {
	settings := loopback()
	settings.OpsHost = []string{"Ops.example"}
	p, _ := startWith(t, t.TempDir(), settings, slog.New(slog.DiscardHandler))
	_, page := operations(t, p, "/")
	style, script := asset(t, page, "css"), asset(t, page, "js")

	t.Run("answers no foreign host", func(t *testing.T) {
		for host, want := range map[string]int{
			"localhost": 200, "LOCALHOST:1": 200, "localhost.": 200, "127.0.0.1": 200, "127.0.0.2:8082": 200, "[::1]:8082": 200, "": 200,
			"ops.example": 200, "ops.example:8082": 200,
			"evil.example": 421, "evil.example:8082": 421, "localhost.evil.example": 421, "10.0.0.1": 421, "ops.example.evil": 421, "127.0.0.1.evil.example": 421,
		} {
			for _, path := range []string{"/", "/overview.json", style, "/readyz", "/healthz", "/metrics"} {
				if got := opsRequest(t.Context(), t, p, path, host).StatusCode; got != want {
					t.Errorf("%s with Host %q: %d, want %d", path, host, got, want)
				}
			}
		}
		if got := opsRequest(t.Context(), t, p, "/live", "evil.example").StatusCode; got != 421 {
			t.Errorf("/live: %d", got)
		}
	})

	t.Run("has a strict policy for the page", func(t *testing.T) {
		for path, cache := range map[string]string{"/": "no-store", "/overview.json": "no-store", style: "public, max-age=31536000, immutable", script: "public, max-age=31536000, immutable"} {
			header := opsRequest(t.Context(), t, p, path, "").Header
			policy := header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") ||
				!strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "require-trusted-types-for 'script'") {
				t.Errorf("%s: policy %q", path, policy)
			}
			for name, want := range map[string]string{
				"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "same-origin", "Cache-Control": cache,
			} {
				if got := header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
		}
	})

	t.Run("has at most 16 streams", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var open []*http.Response
		for i := range 16 {
			open = append(open, opsRequest(ctx, t, p, "/live", ""))
			if open[i].StatusCode != http.StatusOK {
				t.Fatalf("stream %d: %d", i+1, open[i].StatusCode)
			}
		}
		if response := opsRequest(ctx, t, p, "/live", ""); response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Errorf("stream 17: %d", response.StatusCode)
		}
		if status, _ := operations(t, p, "/"); status != http.StatusOK {
			t.Errorf("the page beside the streams: %d", status)
		}
		open[0].Body.Close()
		for free := false; !free; { // until the server notices
			response := opsRequest(ctx, t, p, "/live", "")
			free = response.StatusCode == http.StatusOK
			response.Body.Close()
		}
	})

	t.Run("answers nothing else", func(t *testing.T) {
		for _, path := range []string{"/index.html", "/assets/", "/assets/overview.css"} {
			if status, _ := operations(t, p, path); status != http.StatusNotFound {
				t.Errorf("%s: %d", path, status)
			}
		}
	})
}

// asset returns the path of the page's asset with the extension.
func asset(t *testing.T, page []byte, extension string) string {
	t.Helper()
	path := regexp.MustCompile(`/assets/[0-9a-f]{16}/\w+\.` + extension).FindString(string(page))
	if path == "" {
		t.Fatalf("the page has no asset .%s", extension)
	}
	return path
}

// lockOutbox locks the outbox of a server that was started after begun, as another process
// that writes, until unlock is called.
func lockOutbox(t *testing.T, dir string, begun time.Time) (unlock func()) {
	t.Helper()
	other, err := sql.Open("sqlite3", "file:"+datadir.Dir(dir).Outbox()+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	eventually(t, "the time to be noted, which the lock would prevent for a minute", func() error {
		var noted string
		if err := other.QueryRowContext(t.Context(), `select noted from clock`).Scan(&noted); err != nil {
			return err
		}
		if at, err := events.ParseTime(noted); err != nil || at.Before(begun) {
			return fmt.Errorf("noted %q (%w)", noted, err)
		}
		return nil
	})
	writing, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := writing.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that keeps the outbox locked stops all that is to be recorded. That is shown, and
// nothing else because of it.
func TestTheOverviewShowsThatTheOutboxIsLocked(t *testing.T) {
	t.Parallel()
	begun := time.Now().Truncate(time.Microsecond)
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	unlock := lockOutbox(t, dir, begun)
	conditions := make(chan map[string]string, 1)
	go func() {
		defer close(conditions)
		if status, found := readiness(t, p); status == http.StatusServiceUnavailable {
			conditions <- found
		}
	}()
	eventually(t, "the lock to be shown", func() error {
		f := readOverview(t, p)
		if f.State != "bad" || f.Sentence != "The server is not ready" || len(f.Findings) != 1 || f.Findings[0].Name != "outbox" || !f.Findings[0].Blocks {
			return fmt.Errorf("%+v", f)
		}
		if f.Recorded == 0 || f.Recorded != f.Applied {
			return fmt.Errorf("%d recorded, %d applied", f.Recorded, f.Applied)
		}
		return nil
	})
	found := <-conditions
	for name, text := range found {
		if (text == "ok") == (name == "outbox") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if len(found) == 0 {
		t.Error("/readyz is not 503")
	}
	unlock()
	eventually(t, "nothing to attend to when it is free", func() error {
		if f := readOverview(t, p); f.State != "ok" || len(f.Findings) != 0 {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
}

func TestTheOverviewCanBeOff(t *testing.T) {
	settings := loopback()
	settings.OpsPage = "off"
	p, _ := startWith(t, t.TempDir(), settings, slog.New(slog.DiscardHandler))
	for path, want := range map[string]int{"/": 404, "/overview.json": 404, "/live": 404, "/healthz": 200, "/metrics": 200, "/readyz": 200} {
		if got, _ := operations(t, p, path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// Metrics that are renamed would leave graphs of the dashboard empty.
func TestTheDashboardShowsMetricsThatExist(t *testing.T) {
	p, _ := startServer(t, t.TempDir())
	names := make(map[string]bool)      // of metrics
	labels := make(map[string][]string) // by metric
	described := make(chan *prometheus.Desc)
	go func() {
		p.Metrics.Describe(described)
		close(described)
	}()
	for d := range described {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())
		names[name[1]] = true
		variable := regexp.MustCompile(`variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())
		labels[name[1]] = strings.Split(variable[1], ",")
	}
	text, err := os.ReadFile("server/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, graphs := make(map[int]bool), 0
	shown := make(map[string]bool)
	metric, by := regexp.MustCompile(`\b(?:signoff|process|go)_\w+`), regexp.MustCompile(`\bby \(([^)]*)\)`)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		if panel.Type == "row" {
			continue
		}
		graphs++
		if len(panel.Targets) == 0 {
			t.Errorf("%s: no query", panel.Title)
		}
		for _, target := range panel.Targets {
			used := metric.FindAllString(target.Expr, -1)
			if len(used) == 0 {
				t.Errorf("%s: no metric of ours in %s", panel.Title, target.Expr)
			}
			for _, name := range used {
				base := name
				for _, suffix := range []string{"_bucket", "_sum", "_count"} { // of a histogram
					if s, ok := strings.CutSuffix(name, suffix); ok && !names[name] {
						base = s
					}
				}
				if !names[base] {
					t.Errorf("%s: there is no metric %s", panel.Title, name)
				}
				shown[base] = true
				for _, list := range by.FindAllStringSubmatch(target.Expr, -1) {
					for _, label := range strings.Split(list[1], ", ") {
						if label != "le" && !slices.Contains(labels[base], label) {
							t.Errorf("%s: the metric %s has no label %s", panel.Title, base, label)
						}
					}
				}
			}
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "signoff_desk_") && !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	if graphs < 10 || dashboard.UID == "" {
		t.Errorf("%d panels, uid %q", graphs, dashboard.UID)
	}
}
