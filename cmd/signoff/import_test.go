package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// importResult is what import prints as JSON.
type importResult struct {
	DryRun                    bool
	Taken, Unchanged, Refused int
	WarningKinds              map[string]int
	Refusals, Warnings        []remark
}

func importJSON(t *testing.T, status int, input string, args ...string) (f importResult) {
	t.Helper()
	r := signoffReading(t, input, append([]string{"import", "--json"}, args...)...)
	if r.status != status {
		t.Fatalf("status %d, want %d: %s%s", r.status, status, r.out, r.err)
	}
	if err := json.Unmarshal([]byte(r.out), &f); err != nil {
		t.Fatal(err, r.out)
	}
	return f
}

func TestImportReadsStandardInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines, err := os.ReadFile("demo/synthetic.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	seed, err := os.ReadFile("demo/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	first := importJSON(t, exitDone, string(lines), "-", "--data", dir)
	if first.Taken == 0 || first.Refused != 0 {
		t.Fatalf("%+v", first)
	}
	for _, format := range []string{"ndjson", ""} {
		again := importJSON(t, exitDone, string(lines), "-", "--format", format, "--data", dir)
		if again.Unchanged != first.Taken || again.Taken+again.Refused != 0 {
			t.Errorf("%s: %+v", format, again)
		}
	}
	if bundle := importJSON(t, exitDone, string(seed), "-", "--format", "fhir", "--data", dir); bundle.Taken == 0 {
		t.Errorf("%+v", bundle)
	}
	if wrong := importJSON(t, exitRefused, string(seed), "-", "--format", "json", "--data", dir); wrong.Refused != 1 || wrong.Refusals[0].File != "-" {
		t.Errorf("%+v", wrong)
	}
	refusal(t, exitUsage, []string{"import", "-", "--format", "xml", "--data", dir}, `"xml"`)
	refusal(t, exitUsage, []string{"import", "--sdtm", dir, "--format", "json", "--data", dir}, "--format")
	refusal(t, exitRefused, []string{"import", "--sdtm", "demo/seed.json", "--data", dir}, "demo/seed.json is no directory", "tu.csv")
	refusal(t, exitRefused, []string{"import", "--sdtm", "nowhere", "--data", dir}, "nowhere", "--sdtm names a directory")
}

func TestAFileWithoutAssessmentsIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"bundle.json": `{"resourceType":"Bundle","type":"collection"}`, "entries.json": `{"resourceType":"Bundle","type":"collection","entry":[]}`, "list.json": `[]`,
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		refusal(t, exitRefused, []string{"import", path, "--data", dir}, name, "there is no assessment in it")
		if r := signoff(t, "import", path, "demo/seed.json", "--data", dir, "--dry-run", "--json"); r.status != exitRefused || !strings.Contains(r.out, "there is no assessment in it") || !strings.Contains(r.out, `"taken": 2`) {
			t.Errorf("%s beside another file: status %d, %s%s", name, r.status, r.out, r.err)
		}
	}
}

func TestImportRefusesOtherStudies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refusal(t, exitRefused, []string{"import", "demo/seed.json", "--study", "OTHER", "--data", dir}, `study: the record is of study "FHIR-T", not "OTHER"`)
	if f := importJSON(t, exitDone, "", "demo/seed.json", "--study", "FHIR-T", "--data", dir); f.Taken == 0 {
		t.Errorf("%+v", f)
	}
	sdtm := unpackSDTM(t)
	if f := importJSON(t, exitRefused, "", "--sdtm", sdtm, "--study", "OTHER", "--data", dir); f.Taken != 0 || f.Refused != 887 || len(f.Refusals) != 887 || f.Refusals[0].Field != "STUDYID" {
		t.Errorf("%d taken, %d refused, %d refusals", f.Taken, f.Refused, len(f.Refusals))
	}
	refusal(t, exitUsage, []string{"import", "demo/seed.json", "--study", "_x", "--data", dir}, "underscore")
}

func TestADryRunIsTheImportAndChangesNothing(t *testing.T) {
	t.Parallel()
	dir, sdtm := filepath.Join(t.TempDir(), "data"), unpackSDTM(t)
	args := []string{"--sdtm", sdtm, "--data", dir}
	dry := importJSON(t, exitDone, "", append(args, "--dry-run")...)
	if _, err := os.Stat(dir); err == nil {
		t.Error("the dry run has made the data directory")
	}
	empty := t.TempDir()
	mustSignoff(t, "import", "demo/seed.json", "--data", empty, "--dry-run")
	if made, err := os.ReadDir(empty); err != nil || len(made) != 0 {
		t.Errorf("the dry run has made %v", made)
	}
	if !dry.DryRun || dry.Taken != 887 {
		t.Fatalf("%+v", dry)
	}
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	dry = importJSON(t, exitDone, "", append(args, "--dry-run")...)
	done := importJSON(t, exitDone, "", args...)
	dry.DryRun = false
	if diff := cmp.Diff(done, dry); diff != "" {
		t.Error(diff)
	}
	again := importJSON(t, exitDone, "", append(args, "--dry-run")...)
	if again.Unchanged != 887 || again.Taken != 0 {
		t.Errorf("%d taken, %d unchanged", again.Taken, again.Unchanged)
	}
	want := map[string]int{"no sum of diameters": 22, "order of visits": 2, "response": 1}
	if diff := cmp.Diff(want, done.WarningKinds); diff != "" {
		t.Error(diff)
	}
	if len(done.Warnings) != 25 || done.Warnings[0].Kind == "" {
		t.Errorf("%d warnings", len(done.Warnings))
	}
	r := mustSignoff(t, "import", "--sdtm", sdtm, "--data", dir, "--dry-run")
	const summary = "dry run, nothing is registered: 0 registered, 887 unchanged, 0 refused; 25 warnings (no sum of diameters 22, order of visits 2, response 1)\n"
	if r.out != summary {
		t.Errorf("%s", r.out)
	}
}

func TestEveryRefusalIsInTheJSON(t *testing.T) {
	t.Parallel()
	const records = 1500
	f := importJSON(t, exitRefused, strings.Repeat("{}\n", records), "-", "--format", "ndjson", "--data", t.TempDir())
	if f.Refused != records || len(f.Refusals) != records {
		t.Errorf("%d refused, %d refusals", f.Refused, len(f.Refusals))
	}
}

func TestNamesFromOutsideArePrintedQuoted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "a\x1b[2J\n.json")
	if err := os.WriteFile(file, []byte(`{"study":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	seed := filepath.Join(t.TempDir(), "seed\x1b.json")
	content, err := os.ReadFile("demo/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seed, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{file}, {file + "x"}, {filepath.Dir(file) + "/\x1b"}, {"--sdtm", filepath.Dir(file) + "/\x1b"}, {seed, "--study", "A\u0301"}, {seed, "--study", "\x1b"},
	} {
		r := signoff(t, append([]string{"import", "--data", dir}, args...)...)
		if r.status == exitDone || strings.ContainsRune(r.err+r.out, 0x1b) {
			t.Errorf("%q: status %d, %q", args, r.status, r.err)
		}
	}
}
