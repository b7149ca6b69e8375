package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/console"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/demo"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
)

const meaning = "I have reviewed this assessment and approve it."

// addPI adds a PI for the studies with the command line, as the operator and then the PI
// do, and returns the file with the password.
func addPI(t *testing.T, dir, user string, studies ...string) (password string) {
	t.Helper()
	args := []string{"pi", "add", user, "--name", "P. Investigator", "--data", dir, "--json"}
	for _, s := range studies {
		args = append(args, "--study", s)
	}
	var added oneTimePassword
	if err := json.Unmarshal([]byte(mustSignoff(t, args...).out), &added); err != nil {
		t.Fatal(err)
	}
	password = passwordFile(t)
	choose(t, dir, user, added.Password, password)
	return password
}

// choose replaces the password of the PI by that in the file.
func choose(t *testing.T, dir, user, present, file string) {
	t.Helper()
	old := filepath.Join(t.TempDir(), "present")
	if err := os.WriteFile(old, []byte(present), 0o600); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, "pi", "password", user, "--password-file", old, "--new-password-file", file, "--data", dir)
}

// additions are what a published report has beside the contract's example.
var additions = []string{"id", "meta", "code", "issued", "resultsInterpreter"}

func TestTheExampleIsAnsweredAsItWasHandedIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	partner := newPartner(t, p, "acme", "FHIR-T")
	if _, total := partner.pages("/DiagnosticReport?researchstudy=FHIR-T"); total != 0 {
		t.Fatalf("%d reports are visible before any signature", total)
	}
	mustSignoff(t, "sign", "--study", "FHIR-T", "--yes", "--all", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir)
	awaitCaughtUp(t, p)
	_, answer := partner.get("/DiagnosticReport?researchstudy=FHIR-T")

	example, err := os.ReadFile("demo/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	got, want := document(t, answer), document(t, example)
	want["link"] = nil // of another page size and another server
	got["link"] = nil
	for i, e := range got["entry"].([]any) {
		entry, expected := e.(map[string]any), want["entry"].([]any)[i].(map[string]any)
		_, tail, _ := strings.Cut(expected["fullUrl"].(string), "/msk-apim")
		expected["fullUrl"] = p.PublicURL() + "/msk-apim" + tail
		for _, name := range additions {
			if delete(entry["resource"].(map[string]any), name); entry["resource"].(map[string]any)[name] != nil {
				t.Errorf("no %s in the report", name)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the answer differs from the example (-example +answer):\n%s", diff)
	}
}

// document reads JSON with the text of its numbers.
func document(t *testing.T, data []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %.300s", err, data)
	}
	return v
}

// awaitCaughtUp waits until the read model answers from all that is recorded, and the server
// respects all changes of access.
func awaitCaughtUp(t *testing.T, p *server.Server) {
	t.Helper()
	if err := server.AwaitPublished(t.Context(), p.Outbox, p.Relay); err != nil {
		t.Fatal(err)
	}
	head, err := p.Outbox.Source().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Model.WaitFor(t.Context(), head.StreamSequence); err != nil {
		t.Fatal(err)
	}
	access, err := p.Outbox.ChainHead(t.Context(), events.AccessStudy)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the changes of access", func() error {
		if recorded, _ := p.Admission.Recorded(); recorded.Number < access.Number {
			return fmt.Errorf("the server respects %d of %d", recorded.Number, access.Number)
		}
		return nil
	})
}

// unpackSDTM writes the SDTM test data into a directory of its own. Its origin
// is stated beside it.
func unpackSDTM(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"tu.csv", "tr.csv", "rs.csv"} {
		f, err := os.Open(filepath.Join("../../outbox/intake/sdtm/testdata", name+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

type importFacts struct{ Taken, Unchanged, Refused int }

func importSDTM(t *testing.T, data, dir string) (f importFacts) {
	t.Helper()
	if err := json.Unmarshal([]byte(mustSignoff(t, "import", "--sdtm", dir, "--data", data, "--json").out), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAWholeSDTMStudyIsImportedSignedAndReadBack(t *testing.T) {
	t.Parallel()
	const study = "CDISCPILOT01"
	dir, sdtm := t.TempDir(), unpackSDTM(t)
	p, _ := startServer(t, dir)
	password := addPI(t, dir, "pi", study)
	first := importSDTM(t, dir, sdtm)
	if first.Taken == 0 || first.Unchanged != 0 || first.Refused != 0 {
		t.Fatalf("the first import: %+v", first)
	}
	partner := newPartner(t, p, "acme", study)
	// The set has 35 responses that contradict RECIST 1.1; each needs a reason.
	all := []string{"sign", "--study", study, "--yes", "--all", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir}
	refusal(t, exitRefused, all, "nothing was signed", "--reason")
	mustSignoff(t, append(all, reasons(t, dir, study, 35)...)...)
	awaitCaughtUp(t, p)
	if again, want := importSDTM(t, dir, sdtm), (importFacts{Unchanged: first.Taken}); again != want {
		t.Errorf("the second import of the same files: %+v, want %+v", again, want)
	}
	whole, total := partner.pages("/DiagnosticReport?researchstudy=" + study)
	if total != first.Taken || len(whole) != total {
		t.Errorf("%d assessments were signed; the pages hold %d reports and say %d", first.Taken, len(whole), total)
	}
	compareVisits(t, visitsOf(t, filepath.Join(sdtm, "tr.csv")), whole)
}

// compareVisits compares the reports with the visits counted in the file
// itself: subject by subject, how many there are.
func compareVisits(t *testing.T, visits map[string]int, reports []json.RawMessage) {
	t.Helper()
	got := make(map[string]int)
	for _, r := range reports {
		var report struct {
			Status  string
			Subject struct{ Reference string }
		}
		if err := json.Unmarshal(r, &report); err != nil || report.Status != "final" {
			t.Fatalf("not a final report: %.200s", r)
		}
		got[strings.TrimPrefix(report.Subject.Reference, "Patient/")]++
	}
	if diff := cmp.Diff(visits, got); diff != "" {
		t.Errorf("visits per subject (-file +reports):\n%s", diff)
	}
	if len(got) != 254 {
		t.Errorf("%d subjects, want 254", len(got))
	}
}

// visitsOf counts a subject's visits in TR; the one visit that repeats its
// measurements on another date is two.
func visitsOf(t *testing.T, path string) map[string]int {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	header := strings.Split(strings.TrimSpace(lines[0]), ",")
	subject, visit := slices.Index(header, "USUBJID"), slices.Index(header, "VISITNUM")
	seen, count := make(map[string]bool), make(map[string]int)
	for _, line := range lines[1:] {
		fields := strings.Split(line, ",")
		if key := fields[subject] + " " + fields[visit]; !seen[key] {
			seen[key] = true
			count[fields[subject]]++
		}
	}
	count["01-711-1143"]++ // visit 9.2, assessed twice
	return count
}

func TestARevokedStudyIsRefusedWithoutARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	partner := newPartner(t, p, "acme", "FHIR-T", "OTHER")
	if status, body := partner.get("/DiagnosticReport?researchstudy=FHIR-T"); status != http.StatusOK {
		t.Fatalf("before: %d %s", status, body)
	}
	mustSignoff(t, "partner", "revoke", "acme", "FHIR-T", "--data", dir)
	status, body := partner.get("/DiagnosticReport?researchstudy=FHIR-T")
	if status != http.StatusForbidden || outcome(t, body) != "security: Access to protocol denied." {
		t.Errorf("after: %d %s", status, body)
	}
	if status, _ := partner.get("/DiagnosticReport?researchstudy=OTHER"); status != http.StatusOK {
		t.Errorf("the other study: %d", status)
	}
	mustSignoff(t, "partner", "remove", "acme", "--data", dir)
	if status, body := partner.get("/DiagnosticReport?researchstudy=OTHER"); status != http.StatusUnauthorized {
		t.Errorf("a removed partner: %d %s", status, body)
	}
}

func TestAWithdrawnReportIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	mustSignoff(t, append([]string{"sign", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir}, pinnedIDs(t, dir, "790", "792")...)...)
	partner := newPartner(t, p, "acme", "FHIR-T")
	awaitCaughtUp(t, p)
	if status, body := partner.get("/DiagnosticReport/790"); status != http.StatusOK {
		t.Fatalf("before: %d %s", status, body)
	}
	for range 2 { // the second time repeats the first answer
		mustSignoff(t, "withdraw", "790", "--as", "pi", "--meaning", "I withdraw this assessment.", "--reason", "wrong subject", "--password-file", password, "--data", dir)
	}
	awaitCaughtUp(t, p)
	if status, body := partner.get("/DiagnosticReport/790"); status != http.StatusGone || !strings.HasPrefix(outcome(t, body), "deleted: ") {
		t.Errorf("after: %d %s", status, body)
	}
	if _, total := partner.pages("/DiagnosticReport?researchstudy=FHIR-T"); total != 1 {
		t.Errorf("%d reports are left, want 1", total)
	}
}

func TestTheReadModelIsRebuiltFromTheStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, stop := startServer(t, dir)
	password := addPI(t, dir, "pi", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	mustSignoff(t, "sign", "--study", "FHIR-T", "--yes", "--all", "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", dir)
	partner := newPartner(t, p, "acme", "FHIR-T")
	awaitCaughtUp(t, p)
	before, _ := partner.pages("/DiagnosticReport?researchstudy=FHIR-T")

	mustSignoff(t, "rebuild", "--data", dir) // beside the running server
	if after, _ := partner.pages("/DiagnosticReport?researchstudy=FHIR-T"); !cmp.Equal(before, after) {
		t.Errorf("rebuilt beside the server, the reports differ")
	}
	stop()
	for _, lost := range []string{"readmodel.db", "jetstream"} {
		if err := os.RemoveAll(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
		mustSignoff(t, "rebuild", "--data", dir)
		again, stop := startServer(t, dir)
		partner.p = again
		if after, _ := partner.pages("/DiagnosticReport?researchstudy=FHIR-T"); !cmp.Equal(before, after) {
			t.Errorf("after the loss of %s the reports differ", lost)
		}
		stop()
	}
}

func TestTheTourEndsWell(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 { // the second one finds the directory of the first
		r := mustSignoff(t, "demo", "--once", "--data", dir)
		// On a slow machine there are more than 27: each minute the head of the audit trail is one.
		found := regexp.MustCompile(`outbox and stream hold the same (\d+) events`).FindStringSubmatch(r.out)
		if found == nil || r.err != "" {
			t.Fatalf("the tour:\n%s%s", r.out, r.err)
		}
		if n, err := strconv.Atoi(found[1]); err != nil || n < 27 {
			t.Errorf("%d events, %v", n, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, demo.Marker), []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := signoff(t, "demo", "--once", "--data", dir); r.status != exitRefused || !strings.Contains(r.err, "is not a directory of the demo") {
		t.Errorf("in somebody's directory: status %d, %s", r.status, r.err)
	}
}

// After the tour, the printed address, user name and password file open the desk. There a
// case waits that contradicts RECIST 1.1.
func TestTheDemoLeadsToTheDesk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, complaints lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo", "--data", dir}, console.Terminal{In: strings.NewReader(""), Out: &out, Err: &complaints})
	}()
	eventually(t, "the end of the tour", func() error {
		if !strings.Contains(out.String(), "Serving until Ctrl-C.") {
			return fmt.Errorf("so far it has printed\n%s%s", &out, &complaints)
		}
		return nil
	})
	found := regexp.MustCompile(`(?m)^   (http://127\.0\.0\.1:\d+)/\n   user name  (\S+)\n   password   in (.+)$`).FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("it prints no desk:\n%s", &out)
	}
	desk, user, file := found[1], found[2], found[3]
	password, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	secret := strings.TrimSpace(string(password))
	if strings.Contains(out.String(), secret) {
		t.Error("it prints the password")
	}
	form := url.Values{"user": {user}, "password": {secret}, "next": {"/waiting"}}.Encode()
	signIn, err := http.NewRequestWithContext(t.Context(), http.MethodPost, desk+"/sign-in", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	signIn.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultTransport.RoundTrip(signIn)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/sign-in?begun=1&next=%2Fwaiting" {
		t.Errorf("the sign-in is answered %d, to %s", answer.StatusCode, answer.Header.Get("Location"))
	}
	checked := mustSignoff(t, "check", "--study", "DEMO-01", "--case", "11", "--json", "--data", dir).out
	if !strings.Contains(checked, `"assessment":"2011","recorded":"Partial Response","derived":"Progressive Disease"`) {
		t.Errorf("the check of case 11:\n%s", checked)
	}
	if w := mustSignoff(t, "waiting", "--study", "DEMO-01", "--case", "11", "--data", dir).out; !strings.Contains(w, "2011@1.1") {
		t.Errorf("of case 11 there waits\n%s", w)
	}
	stop()
	if status := <-ended; status != exitDone {
		t.Errorf("status %d: %s", status, &complaints)
	}
}

func TestFactsAreJSONWhereAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addPI(t, dir, "pi", "S")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	for _, command := range [][]string{
		{"pi", "list"}, {"partner", "list"}, {"status"}, {"partner", "add", "acme"},
	} {
		t.Run(strings.Join(command, " "), func(t *testing.T) {
			r := mustSignoff(t, append(command, "--json", "--data", dir)...)
			if !json.Valid([]byte(r.out)) {
				t.Errorf("not JSON: %s", r.out)
			}
		})
	}
	for i, line := range strings.Split(strings.TrimSpace(mustSignoff(t, "audit", "--json", "--data", dir).out), "\n") {
		var entry struct{ Number int }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Number != i+1 {
			t.Errorf("line %d of the audit trail: %s", i+1, line)
		}
	}
	if r := signoff(t, "import", "demo/synthetic.ndjson", "no-such-file", "--data", dir); r.status != exitRefused || !strings.Contains(r.err, "no-such-file") {
		t.Errorf("a file that is not there: status %d, %s", r.status, fmt.Sprint(r))
	}
}
