package main

import (
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3" // opens a database file as another program would
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// refusal runs a command that must end with the status and a message that contains each of
// the words.
func refusal(t *testing.T, status int, args []string, words ...string) {
	t.Helper()
	r := signoff(t, args...)
	if r.status != status {
		t.Errorf("signoff %s: status %d, want %d\n%s%s", strings.Join(args, " "), r.status, status, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			t.Errorf("signoff %s: the complaint does not name %q: %s", strings.Join(args, " "), w, r.err)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"an unknown command":            {"sing"},
		"an unknown flag":               {"status", "--verbose"},
		"a secret that nothing takes":   {"source", "add", "edc"},
		"nothing to import":             {"import"},
		"files and SDTM":                {"import", "a.json", "--sdtm", "d"},
		"an evaluator without SDTM":     {"import", "a.json", "--evaluator", "X"},
		"nothing to sign":               {"sign", "--as", "pi", "--meaning", "m"},
		"ids and a study":               {"sign", "790", "--study", "S", "--all", "--as", "pi", "--meaning", "m"},
		"a case that cannot be":         {"sign", "--study", "S", "--all", "--case=-1", "--as", "pi", "--meaning", "m", "--password-file", "none"},
		"two of three servers":          {"serve", "--nats-replicas", "2", "--nats-url", "nats://127.0.0.1:1", "--nats-creds", "{role}", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--desk-listen", "127.0.0.1:0"},
		"all without a study":           {"sign", "--all", "--as", "pi", "--meaning", "m"},
		"no signer":                     {"sign", "790", "--meaning", "m"},
		"no terminal to ask a password": {"sign", "790", "--as", "pi", "--meaning", "m"},
	} {
		t.Run(name, func(t *testing.T) { refusal(t, exitUsage, append(args, "--data", dir), "Try: signoff ") })
	}
	refusal(t, exitUsage, []string{"pi", "add", "rivera"}, "Try: signoff pi add --help\n")
	refusal(t, exitUsage, []string{"sing"}, "Try: signoff --help\n")
	refusal(t, exitUsage, []string{"sign", "790", "--as", "pi", "--meaning", "m", "--data", dir}, "Try: signoff sign --help\n")
	refusal(t, exitUsage, []string{"callout", "--token-issuer", "foo", "--data", dir}, "--token-issuer", "absolute URL", "Try: signoff callout --help\n")
}

func TestFlagsOfADeskThatIsOffAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"--desk-url", "https://desk.example.org"}, {"--desk-trusted-proxy", "10.0.0.1"}, {"--desk-api-signing"}} {
		all := append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--desk-listen", "off"}, args...)
		refusal(t, exitUsage, all, args[0]+" has no effect with --desk-listen off", "Try: signoff serve --help\n")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the data directory has %v, %v", entries, err)
	}
}

func TestSettingsOfTheReadAPIAreRefusedByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"--public-url", "gw.example"}, {"--public-url", "https://gw.example?a=b"}, {"--base-path", "foo"}, {"--base-path", "/foo//bar"},
		{"--token-issuer", "foo"}, {"--token-issuer", "ftp://gw.example"}, {"--token-issuer", "https:///token"}, {"--token-issuer", "https://gw.example/token?a=b"},
		{"--token-issuer", "https://gw.example/token#a"}, {"--token-issuer", "https://a:b@gw.example/token"}, {"--log-level", "foo"},
		{"--max-count", "0"}, {"--max-count=-5"}, {"--max-connections=-1"}, {"--max-connections-per-address=-1"}, {"--page-cache=-2"}, {"--keep-positions=-1h"},
	} {
		name, _, _ := strings.Cut(args[0], "=")
		refusal(t, exitUsage, append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--desk-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0"}, args...), name, "must")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the data directory has %v, %v", entries, err)
	}
}

func TestTheLevelsOfTheLogAreNamed(t *testing.T) {
	t.Parallel()
	refusal(t, exitUsage, []string{"serve", "--log-level", "foo", "--data", t.TempDir()}, "debug, info, warn or error", `"foo"`)
}

func TestAGrantOfAStudyThatIsNotKnownIsWarnedOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustSignoff(t, "partner", "add", "acme", "--study", "A", "--data", dir)
	if r := mustSignoff(t, "partner", "grant", "acme", "B", "--data", dir); !strings.Contains(r.err, "study B has no assessments yet, and the grant counts once it has; none has any yet") {
		t.Errorf("before there is any: %s", r.err)
	}
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	if r := mustSignoff(t, "partner", "grant", "acme", "C", "--data", dir); !strings.Contains(r.err, "those with assessments are FHIR-T.") || !strings.Contains(r.err, "signoff partner revoke acme C\n") {
		t.Errorf("a mistyped one: %s", r.err)
	}
	if r := mustSignoff(t, "partner", "grant", "acme", "FHIR-T", "--data", dir); strings.Contains(r.err, "has no assessments") {
		t.Errorf("the right one: %s", r.err)
	}
}

func TestSignOffsThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	right := addPI(t, dir, "pi", "FHIR-T")
	elsewhere := addPI(t, dir, "elsewhere", "ANOTHER")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("not the right one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pinned := pinnedIDs(t, dir, "790")[0]
	sign := func(user, password string) []string {
		return []string{"sign", pinned, "--as", user, "--meaning", meaning, "--password-file", password, "--data", dir}
	}
	a, b := signoff(t, sign("pi", wrong)...), signoff(t, sign("nobody", wrong)...)
	if a != b || a.status != exitRefused {
		t.Errorf("a wrong password and an unknown user are distinguished:\n%+v\n%+v", a, b)
	}
	refusal(t, exitRefused, sign("elsewhere", elsewhere), "FHIR-T")
	refusal(t, exitRefused, []string{"sign", "799@1.1#" + someDigest, "--as", "pi", "--meaning", meaning, "--password-file", right, "--data", dir}, "799")
	version := func(id string) []string {
		return append([]string{"sign", id}, sign("pi", right)[2:]...)
	}
	refusal(t, exitUsage, version("790@5"), "as in 790@5.2")
	refusal(t, exitRefused, version("790@5.2#"+someDigest), "case revision 5, revision 2 of assessment 790 does not wait", "case revision 5, revision 1 does")
	refusal(t, exitUsage, version("790"), "needs the digest", "signoff show 790")
	refusal(t, exitUsage, version("790@5.1"), "needs the digest")
	refusal(t, exitRefused, version("790@5.1#"+someDigest), "was registered again, with other content")
	refusal(t, exitUsage, []string{"sign", "--study", "FHIR-T", "--all", "--as", "pi", "--meaning", meaning, "--password-file", right, "--data", dir}, "--yes")
	first := mustSignoff(t, version(pinned)...)
	if again := mustSignoff(t, sign("pi", right)...); again.out != first.out {
		t.Errorf("signed again: %+v", again)
	}
	mustSignoff(t, "withdraw", "790", "--as", "pi", "--meaning", "I withdraw this assessment.", "--reason", "mistaken", "--password-file", right, "--data", dir)
	if again := mustSignoff(t, version(pinned)...); strings.Contains(again.out, "signed off") || !strings.Contains(again.out, "signed before and withdrawn since") {
		t.Errorf("signed again after a withdrawal: %+v", again)
	}
	t.Run("a lower version, after a higher one was signed", func(t *testing.T) {
		lower := filepath.Join(t.TempDir(), "lower.json")
		content, err := os.ReadFile("demo/seed.json")
		if err != nil {
			t.Fatal(err)
		}
		caseRevision := `"url": "https://fhir.mskcc.org/structure-definitions/#RevisionNumber",
                "valueInteger": 5`
		text := strings.ReplaceAll(string(content), caseRevision, strings.Replace(caseRevision, "5", "4", 1))
		if err := os.WriteFile(lower, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refusal(t, exitRefused, []string{"import", lower, "--data", dir}, lower+":", "refused:", "assessment 790 was signed as case revision 5, revision 1 by pi at 20")
		mustSignoff(t, sign("pi", right)...)
	})
}

func TestImportRefusesTheOutboxItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addPI(t, dir, "pi", "S")
	tables := t.TempDir()
	for link, target := range map[string]string{"link.json": "outbox.db", "tr.csv": "outbox.db", "log.json": "outbox.db-wal"} {
		if err := os.Symlink(filepath.Join(dir, target), filepath.Join(tables, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{filepath.Join(dir, "outbox.db")},
		{filepath.Join(dir, "outbox.db-wal")}, // is there while the command has the database open
		{filepath.Join(dir, "outbox.db-shm")},
		{filepath.Join(tables, "link.json")},
		{filepath.Join(tables, "log.json")},
		{"demo/seed.json", filepath.Join(dir, "outbox.db")},
		{"--sdtm", tables},
	} {
		refusal(t, exitRefused, append([]string{"import", "--data", dir}, args...), "belongs to the outbox's database", "0 refused")
	}
	refusal(t, exitRefused, []string{"import", "--data", dir, tables}, tables+" is a directory", "--sdtm")
}

func TestReleaseTakesAStudyNumberOrAStudyKey(t *testing.T) {
	t.Parallel()
	const study = "Study 1"
	dir := t.TempDir()
	addPI(t, dir, "pi", "S")
	token := events.StudyKey(study)
	release := func(name string) []string { return []string{"release", name, "--data", dir} }
	refusal(t, exitRefused, release(study), `there is no study "Study 1"`, "signoff status")

	o, err := outbox.Open(t.Context(), datadir.Dir(dir).Outbox(), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	password := addPI(t, dir, "other", study)
	seed := filepath.Join(t.TempDir(), "seed.json")
	content, err := os.ReadFile("demo/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("researchstudy=FHIR-T", "researchstudy=Study%201", "FHIR-T", study).Replace(string(content))
	if err := os.WriteFile(seed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, "import", seed, "--data", dir)
	mustSignoff(t, "sign", "--study", study, "--yes", "--all", "--as", "other", "--meaning", meaning, "--password-file", password, "--data", dir)
	refusal(t, exitRefused, release(study), "study Study 1 is not parked", "signoff status")
	refusal(t, exitRefused, release(token), "study Study 1 is not parked", "signoff status")
	if err := o.Source().Park(t.Context(), token, "too large"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{study, token} {
		mustSignoff(t, release(name)...)
	}
	if parked, err := o.Parked(t.Context()); err != nil || len(parked) != 1 || !parked[0].ReleaseRequested {
		t.Errorf("%+v, %v", parked, err)
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	t.Parallel()
	t.Run("a second server names the process that uses the directory", func(t *testing.T) {
		dir := t.TempDir()
		startServer(t, dir)
		refusal(t, exitRefused, append(serveArgs(dir), "--nats-listen", "127.0.0.1:0"), "is in use by process", "signoff serve")
	})
	t.Run("no data yet", func(t *testing.T) {
		refusal(t, exitRefused, []string{"status", "--data", t.TempDir()}, "has no outbox")
	})
	t.Run("of a newer version", func(t *testing.T) {
		dir := t.TempDir()
		addPI(t, dir, "pi", "S")
		db, err := sql.Open("sqlite3", filepath.Join(dir, "outbox.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), `
			insert into migrations (name, sha256, applied)
			select '999_later.sql', sha256, applied
			from migrations
			limit 1`); err != nil {
			t.Fatal(err)
		}
		refusal(t, exitRefused, append(serveArgs(dir), "--nats-listen", "127.0.0.1:0"), "newer version")
	})
	t.Run("of another origin", func(t *testing.T) {
		dir := t.TempDir()
		addPI(t, dir, "pi", "S")
		refusal(t, exitRefused, append(serveArgs(dir), "--nats-listen", "127.0.0.1:0", "--origin", "/elsewhere"), "/signoff", "/elsewhere")
	})
	t.Run("on a disk that is read-only", func(t *testing.T) {
		dir := readOnly(t, func(dir string) { addPI(t, dir, "pi", "S") })
		refusal(t, exitRefused, append(serveArgs(dir), "--nats-listen", "127.0.0.1:0"), "read-only file system")
		refusal(t, exitRefused, []string{"import", "demo/seed.json", "--data", dir}, "cannot be written")
	})
	t.Run("that cannot be made", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refusal(t, exitRefused, []string{"serve", "--data", filepath.Join(file, "data")}, "data directory")
	})
}

// serveArgs is a serve command on free ports, that of NATS left to the caller.
func serveArgs(dir string) []string {
	return []string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--desk-listen", "127.0.0.1:0"}
}

func TestAddressesInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, flag := range []string{"--listen", "--ops-listen", "--desk-listen", "--nats-listen"} {
		t.Run(flag, func(t *testing.T) {
			args := []string{"serve", "--data", t.TempDir()}
			for _, f := range []string{"--listen", "--ops-listen", "--desk-listen", "--nats-listen"} {
				if f == flag {
					args = append(args, f, taken)
				} else {
					args = append(args, f, "127.0.0.1:0")
				}
			}
			refusal(t, exitRefused, args, flag, "in use")
		})
	}
}

// readOnly returns a directory on a file system that was filled and then made
// read-only.
func readOnly(t *testing.T, fill func(dir string)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "mode=0700"); err != nil {
		t.Skipf("a file system can only be mounted by root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	fill(dir)
	if err := unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCommandsRefuseADataDirectoryThatOthersCanChange(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	mustSignoff(t, "pi", "add", "rivera", "--name", "Dr. Ana Rivera", "--study", "S", "--data", dir)
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"pi", "list", "--data", dir}, {"status", "--data", dir}, append(serveArgs(dir), "--nats-listen", "127.0.0.1:0")} {
		refusal(t, exitRefused, args, "the group can write "+dir, "chmod g-w")
	}
	mustSignoff(t, "pi", "list", "--data", dir, "--allow-group")
}
