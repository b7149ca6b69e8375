package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/seed-e88a4ece/signoff"

// arrows lists the packages of the module, each with those of the module that it may
// import; "*" is all. Tests may import what they need.
var arrows = map[string][]string{
	"events":                      {},
	"events/access":               {"events"},
	"events/leaktest":             {},
	"events/recist":               {"events"},
	"events/retry":                {},
	"fhir":                        {"fhir/strictjson", "events"},
	"fhir/strictjson":             {"events"},
	"fhir/rest":                   {"fhir", "events", "fhir/rest/connections"},
	"fhir/rest/connections":       {},
	"fhir/rest/openapitest":       {},
	"outbox":                      {"outbox/accounts", "outbox/receipts", "outbox/review", "outbox/internal/ledger", "outbox/internal/stored", "outbox/database", "outbox/sqlite", "fhir", "events", "events/access", "events/retry"},
	"outbox/internal/stored":      {"events"},
	"outbox/review":               {"events/recist", "outbox/database", "outbox/internal/ledger", "outbox/internal/stored", "events"},
	"outbox/internal/ledger":      {"outbox/database", "events"},
	"outbox/accounts":             {"outbox/receipts", "outbox/database", "outbox/internal/ledger", "events", "events/access"},
	"outbox/receipts":             {"outbox/database", "outbox/internal/ledger", "events", "events/access"},
	"outbox/database":             {},
	"outbox/sqlite":               {"outbox/database", "events/retry"},
	"outbox/intake":               {"fhir", "fhir/strictjson", "events"},
	"outbox/intake/sdtm":          {"outbox/intake", "events", "events/recist"},
	"outbox/token":                {"events", "events/access", "fhir/rest"},
	"outbox/desk":                 {"outbox/desk/casetable", "outbox/desk/changes", "outbox/desk/chart", "outbox/desk/checkpanel", "outbox/desk/clientaddress", "outbox/desk/metrics", "outbox/desk/page", "outbox/desk/queue", "outbox/desk/session", "outbox/desk/signform", "outbox/desk/signing", "outbox/desk/trail", "outbox", "outbox/accounts", "outbox/receipts", "outbox/review", "events", "events/recist", "fhir/rest"},
	"outbox/desk/api":             {"outbox/desk/clientaddress", "outbox/desk/metrics", "outbox/desk/signing", "outbox", "outbox/accounts", "outbox/review", "outbox/intake", "events", "events/recist", "fhir/rest", "fhir/strictjson"},
	"outbox/desk/clientaddress":   {},
	"outbox/desk/metrics":         {"outbox", "outbox/review", "events/recist"},
	"outbox/desk/session":         {"outbox/accounts", "events", "events/access"},
	"outbox/desk/chart":           {"events", "events/recist"},
	"outbox/desk/changes":         {"events"},
	"outbox/desk/queue":           {"outbox/desk/casetable", "outbox/desk/changes", "outbox/desk/chart", "outbox/desk/page", "outbox/review", "events", "events/recist"},
	"outbox/desk/casetable":       {"outbox/desk/chart", "outbox/receipts", "outbox/review", "events", "events/recist"},
	"outbox/desk/checkpanel":      {"events", "events/recist"},
	"outbox/desk/page":            {"outbox/desk/chart", "events/recist"},
	"outbox/desk/trail":           {"outbox", "outbox/accounts", "events"},
	"outbox/desk/signform":        {"outbox/desk/page", "outbox/desk/signing", "outbox/review", "events", "events/recist"},
	"outbox/desk/signing":         {"outbox", "outbox/review", "events", "events/recist"},
	"publisher":                   {"events", "events/retry"},
	"publisher/tenancy":           {"events", "events/access"},
	"publisher/operator":          {"publisher/tenancy", "events"},
	"publisher/natsd":             {"publisher/operator", "publisher/tenancy", "events"},
	"publisher/callout":           {"publisher/operator", "publisher/tenancy", "events", "events/access", "events/retry"},
	"publisher/partners":          {"publisher/callout", "publisher/operator", "publisher/tenancy", "events", "events/access", "events/retry"},
	"subscriber":                  {"events", "events/retry"},
	"subscriber/stream":           {"events", "events/retry"},
	"subscriber/readmodel":        {"subscriber/stream", "outbox/database", "outbox/sqlite", "fhir", "events", "events/access", "events/retry"},
	"subscriber/api/openapi":      {},
	"subscriber/api/partnerlimit": {},
	"subscriber/api":              {"subscriber/api/openapi", "subscriber/api/partnerlimit", "subscriber/readmodel", "events", "events/access", "fhir", "fhir/rest"},
	"cmd/signoff":                 {"*"},

	// Only main, the server and the tour may import everything; the packages that they
	// share may not.
	"cmd/signoff/console":           {},
	"cmd/signoff/check":             {"cmd/signoff/console", "events/recist", "outbox/review"},
	"cmd/signoff/source":            {"cmd/signoff/console", "cmd/signoff/datadir", "outbox", "outbox/accounts"},
	"cmd/signoff/natsflags":         {"cmd/signoff/console", "publisher/natsd", "publisher/operator"},
	"cmd/signoff/datadir":           {"cmd/signoff/natsflags", "events/retry", "events", "outbox", "publisher/operator"},
	"cmd/signoff/natsconf":          {"cmd/signoff/console", "cmd/signoff/datadir", "cmd/signoff/natsflags", "publisher/natsd", "publisher/operator"},
	"cmd/signoff/server/admission":  {"events", "events/access", "events/retry", "fhir/rest", "outbox", "publisher", "subscriber/stream", "subscriber/readmodel"},
	"cmd/signoff/server/overview":   {"events", "outbox", "outbox/desk/page", "outbox/receipts", "outbox/review", "publisher", "subscriber/readmodel"},
	"cmd/signoff/server/tokenkey":   {"cmd/signoff/datadir", "events/retry", "events/access", "outbox", "outbox/accounts"},
	"cmd/signoff/server":            {"*"},
	"cmd/signoff/demo":              {"*"},
	"cmd/signoff/internal/testcert": {"*"},
	"outbox/accounts/accountstest":  {"outbox/accounts"},
	"subscriber/stream/streamtest":  {"subscriber/stream", "events"},
	"publisher/brokertest":          {"publisher", "publisher/natsd", "publisher/operator", "events"},
	"outbox/desk/desktest":          {"outbox/desk", "outbox/desk/metrics", "outbox", "outbox/accounts/accountstest", "events", "fhir/rest"},
}

// reserved are packages of others that only some of ours may import.
var reserved = []struct {
	what string // an import path, and everything below it
	by   []string
	why  string
}{
	{"github.com/mattn/go-sqlite3", []string{"outbox/sqlite"}, "one place opens databases and knows their options"},
	{"github.com/jmoiron/sqlx", []string{"outbox", "outbox/internal/ledger", "outbox/accounts", "outbox/receipts", "outbox/database", "outbox/sqlite", "subscriber/readmodel"}, "SQL stays behind the two stores"},
	{"database/sql", []string{"outbox", "outbox/internal/ledger", "outbox/accounts", "outbox/receipts", "outbox/review", "outbox/database", "outbox/sqlite", "subscriber/readmodel"}, "SQL stays behind the two stores"},
	{"github.com/nats-io/nats-server/v2", []string{"publisher/natsd", "publisher/brokertest"}, "the server can be an outside cluster"},
	{
		"github.com/nats-io/nats.go/jetstream",
		[]string{
			"publisher", "publisher/brokertest", "publisher/callout", "publisher/partners", "subscriber", "subscriber/stream", "subscriber/stream/streamtest", "subscriber/readmodel",
			"cmd/signoff", "cmd/signoff/server", "cmd/signoff/server/admission", "cmd/signoff/demo",
		},
		"the stream has one writer and one way to be read",
	},
	{"github.com/synadia-io/orbit.go/jetstreamext", []string{"publisher", "publisher/brokertest"}, "only the publisher writes the stream"},
	{"github.com/go-json-experiment/json", []string{"fhir", "fhir/strictjson"}, "JSON from outside is read in one way"},
	{"github.com/cenkalti/backoff/v4", []string{"events/retry"}, "what failed is tried again in one way"},
	{"encoding/csv", []string{"outbox/intake/sdtm"}, "only SDTM comes as CSV"},
}

// pure packages do no I/O.
var (
	pure = []string{"events", "events/access", "events/recist", "events/retry", "fhir", "fhir/strictjson", "outbox/desk/casetable", "outbox/desk/changes", "outbox/desk/chart", "outbox/desk/checkpanel", "publisher/tenancy"}
	io_  = []string{"os", "os/exec", "net", "net/http", "database/sql", "syscall"}
)

// topLevel lists the entries of the top directory, except dot-files.
var topLevel = []string{
	"cmd", "events", "fhir", "outbox", "publisher", "subscriber", "go.mod", "go.sum", "docker-compose.yml", "README.md", "LICENSE",
}

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	GoFiles    []string // without tests
	CgoFiles   []string
}

// goList runs go list at the top of the module.
func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	fields := "-json=ImportPath,Standard,Imports,GoFiles,CgoFiles"
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", fields}, args...)...)
	cmd.Dir = moduleRoot(t)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &problems)
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// moduleRoot is the directory of go.mod, at or above that of the test.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// ours returns the path of a package within the module.
func ours(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, modulePath+"/")
}

// home returns the package in arrows that p is or lies below, so that an internal package
// counts as part of its parent.
func home(p string) string {
	for ; p != "."; p = path.Dir(p) {
		if _, ok := arrows[p]; ok {
			return p
		}
	}
	return ""
}

func within(importPath, what string) bool {
	return importPath == what || strings.HasPrefix(importPath, what+"/")
}

func TestPackagesImportOnlyAlongTheArrows(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name, _ := ours(p.ImportPath)
		from := home(name)
		if from == "" {
			t.Errorf("package %s is not in the map: add it to arrows", name)
			continue
		}
		for _, importPath := range p.Imports {
			to, ok := ours(importPath)
			if !ok || home(to) == from || slices.Contains(arrows[from], "*") || slices.Contains(arrows[from], home(to)) {
				continue
			}
			t.Errorf("%s imports %s; it may import %s only", name, to, orNothing(arrows[from]))
		}
	}
}

// Packages whose names end in test have fixtures.
func TestPackagesForTestsAreImportedByTestsOnly(t *testing.T) {
	forTests := func(p string) bool { return strings.HasSuffix(p, "test") }
	for _, p := range goList(t, "./...") {
		for _, importPath := range p.Imports {
			if _, mine := ours(importPath); mine && forTests(importPath) && !forTests(p.ImportPath) {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, importPath)
			}
		}
	}
}

// A package with more files has more than one subject.
func TestPackagesHaveAtMostSixteenFiles(t *testing.T) {
	const most = 16
	for _, p := range goList(t, "./...") {
		if n := len(p.GoFiles) + len(p.CgoFiles); n > most {
			t.Errorf("%s has %d files besides tests; divide it", p.ImportPath, n)
		}
	}
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

func TestReservedPackagesAreImportedByTheirOwnersOnly(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name, _ := ours(p.ImportPath)
		for _, r := range reserved {
			if slices.Contains(r.by, home(name)) {
				continue
			}
			for _, importPath := range p.Imports {
				if within(importPath, r.what) {
					t.Errorf("%s imports %s; only %s may: %s", name, importPath, strings.Join(r.by, ", "), r.why)
				}
			}
		}
	}
}

func TestPurePackagesDoNoIO(t *testing.T) {
	for _, name := range pure {
		for _, p := range goList(t, "./"+name) {
			for _, importPath := range p.Imports {
				if slices.Contains(io_, importPath) {
					t.Errorf("%s imports %s, but does no I/O", name, importPath)
				}
			}
		}
	}
}

// Partners import the subscriber into programs of their own: it must bring
// along neither a C compiler nor a database nor a server.
func TestTheSubscriberIsLightToImport(t *testing.T) {
	for _, p := range goList(t, "-deps", "./subscriber") {
		name, mine := ours(p.ImportPath)
		switch {
		case mine && name != "subscriber" && name != "events" && name != "events/retry":
			t.Errorf("subscriber depends on %s; of ours it may have events and events/retry only", name)
		case !p.Standard && len(p.CgoFiles) > 0:
			t.Errorf("subscriber depends on %s, which needs a C compiler", p.ImportPath)
		case within(p.ImportPath, "database/sql"), within(p.ImportPath, "github.com/nats-io/nats-server/v2"):
			t.Errorf("subscriber depends on %s", p.ImportPath)
		}
	}
}

// What is not in the repository, such as a data directory, is not checked.
func TestTheTopLevelHoldsWhatWasAgreed(t *testing.T) {
	root := moduleRoot(t)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || slices.Contains(topLevel, name) || ignored(t, root, name) {
			continue
		}
		t.Errorf("%s lies at the top; agreed are %s and dot-files", name, strings.Join(topLevel, ", "))
	}
}

// ignored reports whether git is told to ignore the entry; false without git.
func ignored(t *testing.T, root, name string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "check-ignore", "-q", name)
	cmd.Dir = root
	return cmd.Run() == nil
}
