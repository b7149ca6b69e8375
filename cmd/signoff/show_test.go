package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/review"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

func TestWhatIsSignedIsShownWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password := addPI(t, dir, "pi", "FHIR-T", "DEMO-01")
	mustSignoff(t, "import", "demo/seed.json", "demo/synthetic.ndjson", "--data", dir)

	t.Run("what waits, by study", func(t *testing.T) {
		out := mustSignoff(t, "waiting", "--data", dir).out
		for _, want := range []string{
			"study DEMO-01: 11 assessments", "study FHIR-T: 2 assessments",
			"790@5.1  163   10081007  Follow-up 2  37.6 mm  Partial Response",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("it lacks %q:\n%s", want, out)
			}
		}
		out = mustSignoff(t, "waiting", "--study", "FHIR-T", "--case", "163", "--data", dir).out
		if strings.Contains(out, "DEMO-01") || !strings.Contains(out, "792@5.2") {
			t.Errorf("of one case it lists\n%s", out)
		}
		var waiting []review.Waiting
		if err := json.Unmarshal([]byte(mustSignoff(t, "waiting", "--json", "--data", dir).out), &waiting); err != nil || len(waiting) != 13 {
			t.Errorf("%d wait as JSON, %v", len(waiting), err)
		}
		refusal(t, exitUsage, []string{"waiting", "--case", "1", "--data", dir}, "--study")
	})
	t.Run("one version, in 80 columns", func(t *testing.T) {
		out := mustSignoff(t, "show", "2007", "--data", dir).out
		for _, want := range []string{
			"assessment  2007, case revision 1, revision 1, of case 12 of study DEMO-01",
			"T01, Target, Lung, Present, 52.0 mm, CT", "T02, Target, Liver, Present, 20.5 mm, CT",
			"72.5 mm; from previous +16.0 mm, from baseline +17.5 mm", "Progressive Disease", "waits for its signature",
			"signoff sign " + pinnedIDs(t, dir, "2007")[0],
		} {
			if !strings.Contains(out, want) {
				t.Errorf("it lacks %q:\n%s", want, out)
			}
		}
		for line := range strings.Lines(out) {
			if utf8.RuneCountInString(line) > console.Columns+1 && !strings.Contains(line, "signoff sign") {
				t.Errorf("a line is too wide: %s", line)
			}
		}
	})
	t.Run("a baseline's conclusion is explained", func(t *testing.T) {
		if out := mustSignoff(t, "show", "2001", "--data", dir).out; !strings.Contains(out, "No (a baseline has no response yet)") {
			t.Error(out)
		}
	})
	t.Run("its versions and signatures", func(t *testing.T) {
		mustSignoff(t, "sign", pinnedIDs(t, dir, "790")[0], "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir)
		mustSignoff(t, "withdraw", "790", "--as", "pi", "--meaning", "I withdraw it.", "--reason", "wrong subject", "--password-file", password, "--data", dir)
		seed, err := os.ReadFile("demo/seed.json")
		if err != nil {
			t.Fatal(err)
		}
		higher := strings.ReplaceAll(string(seed), `"valueInteger": 5`, `"valueInteger": 6`)
		path := t.TempDir() + "/higher.json"
		if err := os.WriteFile(path, []byte(higher), 0o600); err != nil {
			t.Fatal(err)
		}
		mustSignoff(t, "import", path, "--data", dir)
		out := strings.Join(strings.Fields(mustSignoff(t, "show", "790@5.1", "--data", dir).out), " ")
		for _, want := range []string{"signed ", `"` + meaning + `"`, "withdrawn", `"I withdraw it."`, `"wrong subject"`, "no longer", "6.1", "waiting"} {
			if !strings.Contains(out, want) {
				t.Errorf("it lacks %q:\n%s", want, out)
			}
		}
	})
	t.Run("a signature and a withdrawal of a former version of the program", func(t *testing.T) {
		v := review.Version{
			State: review.VersionSigned, Signature: &events.Signature{User: "pi", Name: "P", Meaning: "m"},
			Withdrawal: &review.WithdrawalRecord{Signature: events.Signature{User: "pi", Name: "P"}, Reason: "r"},
		}
		var out strings.Builder
		versionFacts{Shown: v}.print(&out)
		text := strings.Join(strings.Fields(out.String()), " ")
		if strings.Contains(text, `""`) || !strings.Contains(text, "before withdrawals had a meaning") || !strings.Contains(text, "before signatures had a digest") {
			t.Error(text)
		}
	})
	t.Run("what is not there", func(t *testing.T) {
		refusal(t, exitRefused, []string{"show", "791", "--data", dir}, "no assessment 791")
		refusal(t, exitRefused, []string{"show", "790@9.9", "--data", dir}, "case revision 9, revision 9", "signoff show 790")
		refusal(t, exitUsage, []string{"show", "790@9", "--data", dir}, "as in 790@5.2")
	})
}

// What makes a signature is typed, and never comes from the environment.
func TestASignatureTakesNothingFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	for name, value := range map[string]string{
		"AS": "pi", "MEANING": meaning, "REASON": "r", "ALL": "true", "STUDY": "FHIR-T", "CASE": "163", "YES": "true", "PASSWORD_FILE": password,
	} {
		t.Setenv("SIGNOFF_"+name, value)
	}
	refusal(t, exitUsage, []string{"sign", "790", "--data", dir}, "--as", "--meaning")
	refusal(t, exitUsage, []string{"withdraw", "790", "--data", dir}, "--as", "--meaning", "--reason")
	refusal(t, exitUsage, []string{"sign", "--as", "pi", "--meaning", meaning, "--data", dir}, "name what to sign")
	refusal(t, exitUsage, []string{"sign", "790", "--as", "pi", "--meaning", meaning, "--data", dir}, "no terminal")
	refusal(t, exitUsage, []string{"sign", "--all", "--study", "FHIR-T", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir}, "--yes")
}

// Whoever signs while nothing is published is told so, and why.
func TestWhoeverSignsHearsThatNothingIsPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	sign := func(id string) string {
		return mustSignoff(t, "sign", pinnedIDs(t, dir, id)[0], "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir).err
	}
	if said := sign("790"); !strings.Contains(said, "No server is running on "+dir) {
		t.Errorf("without a server it says %q", said)
	}
	p, _ := startServer(t, dir)
	if said := sign("790"); strings.Contains(said, "published") {
		t.Errorf("beside a server that is ready it says %q", said)
	}
	nc, err := p.NATS.Connect(natsd.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	foreign := nats.NewMsg(events.IngestPrefix + "crit.v1.FHIR-T.DiagnosticReport.signed")
	if _, err := nc.RequestMsg(foreign, time.Minute); err != nil {
		t.Fatal(err)
	}
	said := sign("792")
	eventually(t, "the publisher stops", func() error {
		said = sign("792")
		if !strings.Contains(said, "Nothing is published now: publisher stopped") {
			return &events.Error{Message: said}
		}
		return nil
	})
	eventually(t, "the answer of withdraw", func() error {
		withdrawn := mustSignoff(t, "withdraw", "790", "--as", "pi", "--meaning", "m", "--reason", "r", "--password-file", password, "--data", dir)
		if !strings.Contains(withdrawn.err, "Nothing is published now: publisher stopped") {
			return &events.Error{Message: withdrawn.err}
		}
		return nil
	})
	eventually(t, "the answer of ready", func() error {
		if r := signoff(t, "ready", "--data", dir); r.status != exitRefused || !strings.Contains(r.err, "publisher stopped") {
			return fmt.Errorf("status %d, %s", r.status, r.err)
		}
		return nil
	})
}
