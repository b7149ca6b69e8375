package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events/recist"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file, or writes the file.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Error(diff)
	}
}

func TestResponsesAreCheckedAgainstRECIST(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const data = "check/testdata"
	password := addPI(t, dir, "pi", "CHECK-01")
	mustSignoff(t, "import", filepath.Join(data, "study.ndjson"), "--data", dir)
	checked := func(t *testing.T, args ...string) string {
		t.Helper()
		return mustSignoff(t, append([]string{"check", "--study", "CHECK-01", "--data", dir}, args...)...).out
	}

	t.Run("as text, in 80 columns", func(t *testing.T) {
		out := checked(t)
		golden(t, filepath.Join(data, "check.txt"), out)
		for line := range strings.Lines(out) {
			if utf8.RuneCountInString(line) > console.Columns+1 {
				t.Errorf("a line is too wide: %s", line)
			}
		}
	})
	t.Run("as JSON, one object a line", func(t *testing.T) {
		out := checked(t, "--json")
		golden(t, filepath.Join(data, "check.ndjson"), out)
		for line := range strings.Lines(out) {
			var v struct {
				Study, Assessment, Recorded, Derived *string
				Case                                 *int32
				Admissible                           []recist.Response
				Findings                             []recist.Finding
			}
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatal(err)
			}
			if v.Study == nil || v.Case == nil || v.Assessment == nil || v.Recorded == nil || v.Derived == nil || v.Admissible == nil || v.Findings == nil {
				t.Errorf("a field is missing: %s", line)
			}
		}
	})
	t.Run("one case", func(t *testing.T) {
		out := checked(t, "--case", "1")
		if out != "study CHECK-01: 1 case, 2 visits; none contradicts RECIST 1.1\n" {
			t.Error(out)
		}
	})
	t.Run("with --fail, a contradiction is status 1", func(t *testing.T) {
		r := signoff(t, "check", "--study", "CHECK-01", "--fail", "--data", dir)
		if r.status != exitRefused || r.out != checked(t) || r.err != "" {
			t.Errorf("status %d, %s", r.status, r.err)
		}
		if r := signoff(t, "check", "--study", "CHECK-01", "--case", "2", "--json", "--fail", "--data", dir); r.status != exitRefused {
			t.Errorf("as JSON: status %d", r.status)
		}
		checked(t, "--case", "1", "--fail")
	})
	t.Run("what is signed counts, what is withdrawn does not", func(t *testing.T) {
		pins := pinnedIDs(t, dir, "202", "203")
		mustSignoff(t, "sign", pins[0], pins[1], "--reason", "203=x", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir)
		if out := checked(t, "--case", "2"); !strings.Contains(out, "assessment  203, case revision 1, revision 1, of case 2, signed") {
			t.Error(out)
		}
		mustSignoff(t, "withdraw", "202", "--as", "pi", "--meaning", meaning, "--reason", "wrong scan", "--password-file", password, "--data", dir)
		out := checked(t, "--case", "2")
		for _, want := range []string{"1 case, 3 visits", "history-incomplete", "40 mm by the"} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("it lacks %q:\n%s", want, out)
			}
		}
	})
	t.Run("refusals", func(t *testing.T) {
		refusal(t, exitRefused, []string{"check", "--study", "NONE", "--data", dir}, "NONE")
		refusal(t, exitUsage, []string{"check", "--data", dir}, "--study")
		for _, number := range []string{"0", "-1", "+1", "01", "x", "1.0", "", "2147483648"} {
			for _, command := range [][]string{{"check"}, {"waiting"}, {"sign", "--all", "--as", "pi", "--meaning", meaning}} {
				refusal(t, exitUsage, append(command, "--study", "CHECK-01", "--case="+number, "--data", dir), "--case", "from 1 on")
			}
		}
	})
}

// reasons returns the flags with which everything in the study that contradicts RECIST 1.1
// can be signed. It fails unless that is n assessments.
func reasons(t *testing.T, dir, study string, n int) (flags []string) {
	t.Helper()
	for line := range strings.Lines(mustSignoff(t, "check", "--study", study, "--json", "--data", dir).out) {
		var v struct {
			Assessment string
			Findings   []recist.Finding
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(v.Findings, func(f recist.Finding) bool { return f.Level == recist.Contradiction }) {
			flags = append(flags, "--reason", v.Assessment+"=as the site reads it")
		}
	}
	if len(flags) != 2*n {
		t.Fatalf("%d assessments contradict RECIST 1.1, not %d", len(flags)/2, n)
	}
	return flags
}

func TestWhatContradictsRECISTIsSignedWithAReason(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password := addPI(t, dir, "pi", "CHECK-01")
	mustSignoff(t, "import", "check/testdata/study.ndjson", "--data", dir)
	command := func(args ...string) []string {
		return append([]string{"sign", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir}, args...)
	}
	pins := pinnedIDs(t, dir, "200", "201", "202", "203")

	t.Run("not without", func(t *testing.T) {
		refusal(t, exitRefused, command(pins...), "This contradicts RECIST 1.1", "assessment  203", "the sum is 50 mm", `add --reason 203="…"`)
		refusal(t, exitRefused, command("--study", "CHECK-01", "--all", "--yes", "--reason", "203=x"), "These contradict RECIST 1.1", `--reason 301="…", and one each for 400, 401`)
		if out := mustSignoff(t, "waiting", "--study", "CHECK-01", "--data", dir).out; !strings.Contains(out, "11 assessments") {
			t.Errorf("something was signed: %s", out)
		}
	})
	t.Run("what is well-formed only", func(t *testing.T) {
		for _, reason := range []string{"203", "=x", "203=", "203= x", "203=" + strings.Repeat("x", 201)} {
			refusal(t, exitUsage, command(append([]string{"--reason", reason}, pins...)...), "--reason")
		}
		refusal(t, exitUsage, command(append([]string{"--reason", "203=x", "--reason", "203=y"}, pins...)...), "two different reasons")
		refusal(t, exitUsage, command(append([]string{"--reason", "203=x", "--reason", "300=y"}, pins...)...), "300")
	})
	t.Run("with one, which the audit trail has", func(t *testing.T) {
		args := command(append([]string{"--reason", "203=T02, a node, was biopsied", "--reason", "202=seen"}, pins...)...)
		mustSignoff(t, args...)
		again := mustSignoff(t, args...)
		if strings.Contains(again.err, "contradict") {
			t.Errorf("what was signed before is checked again: %s", again.err)
		}
		trail := mustSignoff(t, "audit", "--action", "assessment.signed", "--data", dir).out
		for _, want := range []string{
			`"reason":"T02, a node, was biopsied","findings":["overall-differs: Partial Response is recorded, RECIST 1.1 gives Progressive Disease: `, `"reason":"seen"}`,
		} {
			if strings.Count(trail, want) != 1 {
				t.Errorf("the trail lacks %q:\n%s", want, trail)
			}
		}
	})
	t.Run("all of a study", func(t *testing.T) {
		mustSignoff(t, command("--study", "CHECK-01", "--all", "--yes", "--reason", "301=x", "--reason", "400=x", "--reason", "401=x")...)
		if out := mustSignoff(t, "waiting", "--study", "CHECK-01", "--data", dir).out; !strings.Contains(out, "nothing waits") {
			t.Error(out)
		}
	})
}
