package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
)

func TestAnInterruptedSigningPrintsWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	o, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{Step: func(name string) {
		if name == "committed" {
			interrupt()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := accountstest.AddPI(t.Context(), o.Accounts(), "tester", "rivera", "Dr. Rivera", []string{"S1"}, "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	var batch []events.Submission
	var cases []outbox.SignOff
	for n := range int32(atOnce + 2) {
		id := fmt.Sprint(n + 1)
		batch = append(batch, events.Submission{Assessment: events.Assessment{
			ID: id, Study: "S1", SponsorStudy: "S1", TrialName: "S1", Criteria: events.Criteria, Case: events.Case{ID: n + 1, Revision: 1},
			Revision: 1, Name: events.Baseline, Subject: id, Effective: "2014", Conclusion: "No",
		}})
		cases = append(cases, outbox.SignOff{IDs: []string{id}})
	}
	if _, err := o.Register(t.Context(), "tester", batch); err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd := signCommand{As: "rivera", Meaning: "I approve"}
	signed, refused := cmd.sign(ctx, console.Terminal{Err: &complaints}, o, cases)
	if len(signed) != atOnce || refused != 2 || !strings.Contains(complaints.String(), "interrupted: 2 cases not reached") {
		t.Errorf("%d signed, %d refused, printed %q", len(signed), refused, complaints.String())
	}
}

func TestWhatIsRegisteredMeanwhileIsNotSigned(t *testing.T) {
	t.Parallel()
	var o *outbox.Outbox
	register := func(id string, n, revision int32, conclusion string) {
		t.Helper()
		results, err := o.Register(context.Background(), "tester", []events.Submission{{Assessment: events.Assessment{
			ID: id, Study: "S1", SponsorStudy: "S1", TrialName: "S1", Criteria: events.Criteria, Case: events.Case{ID: n, Revision: 1},
			Revision: revision, Name: events.Baseline, Subject: fmt.Sprint(n), Effective: "2014", Conclusion: conclusion,
		}}})
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
	}
	o, err := outbox.Open(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := accountstest.AddPI(t.Context(), o.Accounts(), "tester", "rivera", "Dr. Rivera", []string{"S1"}, "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	for n := range int32(4) {
		register(fmt.Sprint(n+1), n+1, 1, "No")
	}
	var complaints bytes.Buffer
	cmd := signCommand{As: "rivera", Meaning: "I approve", Study: "S1", All: true}
	cases, shown, err := cmd.selection(t.Context(), o)
	if err != nil || len(shown) != 4 {
		t.Fatal(shown, err)
	}
	register("2", 2, 2, "No")             // a higher version
	register("3", 3, 1, "Stable Disease") // other content of the same version
	register("4b", 4, 1, "No")            // one more of the case
	signed, refused := cmd.sign(t.Context(), console.Terminal{Err: &complaints}, o, cases)
	if len(signed) != 2 || signed[0].ID != "1" || signed[1].ID != "4" || refused != 2 {
		t.Errorf("%+v signed, %d refused, printed %q", signed, refused, complaints.String())
	}
	t.Run("a version that was named before it was there", func(t *testing.T) {
		named := signCommand{As: "rivera", Meaning: "I approve", ID: []string{"1@1.2", "3@1.2"}}
		for _, id := range named.ID {
			named := named
			named.ID = []string{id}
			cases, shown, err := named.selection(t.Context(), o)
			if err != nil || len(shown) != 0 {
				t.Fatal(shown, err)
			}
			n := int32(id[0] - '0')
			register(id[:1], n, 2, "Progressive Disease")
			signed, refused := named.sign(t.Context(), console.Terminal{Err: &complaints}, o, cases)
			if len(signed) != 0 || refused != 1 {
				t.Errorf("%s, which nobody saw, was signed: %+v", id, signed)
			}
		}
	})
	t.Run("a version that was replaced, registered again", func(t *testing.T) {
		register("2", 2, 3, "No")
		named := signCommand{As: "rivera", Meaning: "I approve", ID: []string{"2@1.2"}}
		cases, shown, err := named.selection(t.Context(), o)
		if err != nil || len(shown) != 0 {
			t.Fatal(shown, err)
		}
		register("2", 2, 2, "Progressive Disease")
		if signed, refused := named.sign(t.Context(), console.Terminal{Err: &complaints}, o, cases); len(signed) != 0 || refused != 1 {
			t.Errorf("what nobody saw was signed: %+v", signed)
		}
	})
}

// While withdraw waits for the password, another version is signed: nobody saw that
// one, and it stays.
func TestWhatIsSignedMeanwhileIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	sign := func() {
		t.Helper()
		mustSignoff(t, "sign", pinnedIDs(t, dir, "790")[0], "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir)
	}
	sign()
	pipe := filepath.Join(t.TempDir(), "password")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		refusal(t, exitRefused, []string{"withdraw", "790", "--as", "pi", "--meaning", meaning, "--reason", "r", "--password-file", pipe, "--data", dir},
			"another version of assessment 790", "signed last")
	}()
	asked, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when withdraw reads the password
	if err != nil {
		t.Fatal(err)
	}
	seed, err := os.ReadFile("demo/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	higher := filepath.Join(t.TempDir(), "higher.json")
	if err := os.WriteFile(higher, bytes.ReplaceAll(seed, []byte(`"valueInteger": 5`), []byte(`"valueInteger": 6`)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, "import", higher, "--data", dir)
	sign()
	text, err := os.ReadFile(password)
	if err == nil {
		_, err = asked.Write(text)
	}
	if err := errors.Join(err, asked.Close()); err != nil {
		t.Fatal(err)
	}
	<-ended
	if out := mustSignoff(t, "show", "790", "--data", dir).out; !strings.Contains(out, "to the study's partners") {
		t.Errorf("the version that was signed meanwhile is not available:\n%s", out)
	}
}

// What is wrong with a signature is said before the password is read, and once.
func TestWrongSignatures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	password, stranger := addPI(t, dir, "pi", "DEMO-01", "FHIR-T"), addPI(t, dir, "stranger", "OTHER")
	mustSignoff(t, "import", "demo/seed.json", "demo/synthetic.ndjson", "--data", dir)
	beside := func(password string, args ...string) []string {
		return append(args, "--password-file", password, "--data", dir)
	}
	unread := filepath.Join(t.TempDir(), "is not read")
	all := []string{"sign", "--study", "DEMO-01", "--all", "--yes", "--as", "pi", "--meaning"}
	refusal(t, exitUsage, beside(unread, append(all, "")...), "--meaning")
	refusal(t, exitUsage, beside(unread, append(all, "a\nb")...), "--meaning")
	refusal(t, exitUsage, beside(unread, "withdraw", "790", "--as", "pi", "--meaning", "", "--reason", "r"), "--meaning")
	refusal(t, exitUsage, beside(unread, "withdraw", "790", "--as", "pi", "--meaning", "m", "--reason", " "), "--reason")
	refusal(t, exitUsage, beside(unread, "withdraw", "790@5.1", "--as", "pi", "--meaning", "m", "--reason", "r"), "without a version", `"790"`)
	refusal(t, exitUsage, beside(unread, "sign", "--all", "--as", "pi", "--meaning", "m"), "--study with --all")
	refusal(t, exitRefused, beside(unread, "sign", "--study", "DEMO-O1", "--all", "--yes", "--as", "pi", "--meaning", "m"), "signoff waiting")

	r := signoff(t, beside(stranger, "sign", "--study", "DEMO-01", "--all", "--yes", "--as", "stranger", "--meaning", "m", "--reason", "2011=read again")...)
	if n := strings.Count(r.err, "may not sign for study DEMO-01"); n != 1 || !strings.Contains(r.err, " cases)") || r.status != exitRefused {
		t.Errorf("a PI without a grant is refused %d times: %s", n, r.err)
	}
	if strings.Contains(r.err, "No server is running") || strings.Contains(r.out, "VERSION") {
		t.Errorf("where nothing was signed it prints\n%s%s", r.out, r.err)
	}
	r = signoff(t, beside(password, "sign", "790@5.1#"+someDigest, "--as", "pi", "--meaning", "m")...)
	if strings.Contains(r.err, "To be signed") || r.status != exitRefused {
		t.Errorf("what is not there is to be signed: %s", r.err)
	}
}

var someDigest = strings.Repeat("0a", 32)

func TestSelectedVersions(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"790@", "790@5", "790@5.", "790@.2", "790@5.2.1", "790@0.1", "790@1.0", "790@-1.1", "790@5,2", "790@99999999999.1", "790@5.2@5.2",
		"790@5.2#", "790@5.2#abc", "790#" + someDigest, "790@5.2#" + someDigest + "0", "790@5.2#" + strings.ToUpper(someDigest)} {
		if _, err := parseSelected([]string{arg}); err == nil {
			t.Errorf("%s is taken", arg)
		}
	}
	for _, args := range [][]string{{"790@5.2", "790@5.1"}, {"790", "790@5.2"}, {"790@5.2", "790"}} {
		if _, err := parseSelected(args); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	a, err := parseSelected([]string{"790@5.2", "791", "790@5.2", "791"})
	want := outbox.Expected{Version: events.Version{CaseRevision: 5, Revision: 2}}
	pinned, pinErr := parseSelected([]string{"790@5.2#" + someDigest})
	if e := pinned.expected["790"]; pinErr != nil || e.Version != want.Version || e.Digest != someDigest {
		t.Errorf("%+v, %v", pinned, pinErr)
	}
	if err != nil || len(a.expected) != 1 || a.expected["790"] != want || len(a.ids) != 4 {
		t.Errorf("%+v, %v", a, err)
	}
}
