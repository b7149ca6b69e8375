package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersionNamesModuleCommitGoAndNATSServer(t *testing.T) {
	t.Parallel()
	revision := "0123456789abcdef0123456789abcdef01234567"
	deps := []*debug.Module{{Path: "github.com/nats-io/nats.go", Version: "v1.0.0"}, {Path: "github.com/nats-io/nats-server/v2", Version: "v2.14.0"}}
	for name, c := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"a release": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"}, Deps: deps, Settings: []debug.BuildSetting{
				{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: "false"},
			}},
			"signoff      v1.2.3\ncommit       " + revision + "\nGo           go1.26.8\nnats-server  v2.14.0",
		},
		"a modified work tree": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"}, Deps: deps, Settings: []debug.BuildSetting{
				{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: "true"},
			}},
			"signoff      (devel)\ncommit       " + revision + " (modified)\nGo           go1.26.8\nnats-server  v2.14.0",
		},
		"a replaced NATS server": {
			debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
				{Path: "github.com/nats-io/nats-server/v2", Version: "v2.14.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v2.14.1"}},
			}},
			"signoff      unknown\ncommit       unknown\nGo           go1.26.8\nnats-server  example.org/fork v2.14.1",
		},
		"a build that recorded nothing": {
			debug.BuildInfo{GoVersion: "go1.26.8"},
			"signoff      unknown\ncommit       unknown\nGo           go1.26.8\nnats-server  unknown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, versionText(&c.info)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVersionIsPrintedWithoutACommand(t *testing.T) {
	t.Chdir(t.TempDir())
	r := mustSignoff(t, "--version")
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	if len(lines) != 4 || strings.Join(strings.Fields(lines[2]), " ") != "Go "+runtime.Version() || r.err != "" {
		t.Errorf("%q %s", lines, r.err)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("it made files: %v, %v", entries, err)
	}
}

// The test binary records the modules that it was built from, as the program does.
func TestVersionHasTheNATSServerOfGoMod(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(moduleDir(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\t` + natsServerModule + ` (\S+)`).FindStringSubmatch(string(mod))
	out := mustSignoff(t, "--version").out
	if required == nil || !strings.Contains(out, "nats-server  "+required[1]) {
		t.Errorf("go.mod requires %q:\n%s", required, out)
	}
}

// moduleDir returns the directory of go.mod.
func moduleDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
