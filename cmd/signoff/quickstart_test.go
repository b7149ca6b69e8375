package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oddStudy is a study number that a careless quotation would break at.
const oddStudy = `O'Neil & "co" $(id) €1`

func TestTheQuickStartHasTheAddressesOfTheServer(t *testing.T) {
	dir := t.TempDir()
	before := mustSignoff(t, "partner", "add", "early", "--data", dir).out
	for _, want := range []string{"http://127.0.0.1:8080/msk-apim/", "nats://127.0.0.1:4222", "No server is running", "early=STUDY"} {
		if !strings.Contains(before, want) {
			t.Errorf("without a server it does not say %q:\n%s", want, before)
		}
	}
	p, _ := startProgram(t, dir)
	added := mustSignoff(t, "partner", "add", "acme", "--study", "FHIR-T", "--study", "OTHER", "--data", dir).out
	for _, want := range []string{p.publicURL() + "/msk-apim/", p.nats.ClientURL(), "acme=FHIR-T", "crit.v1.OTHER.>"} {
		if !strings.Contains(added, want) {
			t.Errorf("it does not say %q:\n%s", want, added)
		}
	}
	credentials, start, _ := strings.Cut(added, "\n\n")
	if again := mustSignoff(t, "partner", "quickstart", "acme", "--data", dir).out; again != start {
		t.Errorf("printed again it is another one:\n%s", cmp.Diff(start, again))
	}
	secret := strings.Fields(credentials)[3]
	if len(secret) != 43 || strings.Contains(start, secret) {
		t.Errorf("the quick start holds the secret, or it was not found: %q", secret)
	}
	if lines := strings.Count(start, "\n"); lines > 60 {
		t.Errorf("%d lines are more than a screen", lines)
	}
	refusal(t, exitRefused, []string{"partner", "quickstart", "nobody", "--data", dir}, "there is no partner")
}

func TestTheQuickStartAsJSON(t *testing.T) {
	dir := t.TempDir()
	var got struct {
		ClientID, ClientSecret string
		credentials
		quickStart
	}
	out := mustSignoff(t, "partner", "add", "acme", "--study", oddStudy, "--json", "--data", dir).out
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != "acme" || got.Secret == "" {
		t.Errorf("credentials: %s", out)
	}
	const api = "http://127.0.0.1:8080/msk-apim/external"
	want := quickStart{
		Partner: "acme", TokenURL: api + "/msk-oidc/oauth2/token", BaseURL: api + "/v2/crit/blaze/api", NATS: "nats://127.0.0.1:4222",
		Stream: "SIGNOFF", Prefix: "js.signoff", Access: "crit.partner.acme.access",
	}
	name := got.Studies[0].Token
	want.Studies = []studyStart{{
		Study: oddStudy, Token: name, Consumer: "acme=" + name, Subject: "crit.v1." + name + ".>",
		Page: api + "/v2/crit/blaze/api/DiagnosticReport?researchstudy=O%27Neil%20%26%20%22co%22%20%24%28id%29%20%E2%82%AC1",
	}}
	if diff := cmp.Diff(want, got.quickStart, cmp.AllowUnexported(quickStart{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var again quickStart
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "quickstart", "acme", "--json", "--data", dir).out), &again); err != nil || !cmp.Equal(again, want, cmp.AllowUnexported(quickStart{})) {
		t.Errorf("printed again: %+v, %v", again, err)
	}
}

func TestWherePartnersReachNATS(t *testing.T) {
	for _, c := range []struct{ nats, public, want string }{
		{"", "", "nats://127.0.0.1:4222"},
		{"nats://127.0.0.1:5000", "http://127.0.0.1:8080", "nats://127.0.0.1:5000"},
		{"tls://0.0.0.0:4222", "https://crit.example.org", "tls://crit.example.org:4222"},
		{"tls://[::]:4222", "https://crit.example.org:8443/x", "tls://crit.example.org:4222"},
		{"tls://192.0.2.1:4222", "https://crit.example.org", "tls://192.0.2.1:4222"},
		{"tls://a:4222,tls://b:4222", "https://crit.example.org", "tls://a:4222,tls://b:4222"},
	} {
		if got := partnersNATS(serving{NATS: c.nats, PublicURL: c.public}); got != c.want {
			t.Errorf("%s beside %s: %s, want %s", c.nats, c.public, got, c.want)
		}
	}
}

// newcomer is a partner in an empty directory, with nothing but what was
// printed for it.
type newcomer struct {
	t    *testing.T
	dir  string
	text string
}

// arrive adds a partner and does the first step: the secret into a file.
func arrive(t *testing.T, data, study string) *newcomer {
	t.Helper()
	printed := mustSignoff(t, "partner", "add", "acme", "--study", study, "--data", data).out
	credentials, text, _ := strings.Cut(printed, "\n\n")
	n := &newcomer{t: t, dir: t.TempDir(), text: text}
	n.bash(n.step("# 1."), strings.Fields(credentials)[3]+"\n")
	info, err := os.Stat(filepath.Join(n.dir, "acme.secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file with the secret: %v, %v", info, err)
	}
	return n
}

// step gives the lines from a heading to the next.
func (n *newcomer) step(heading string) string {
	n.t.Helper()
	_, text, ok := strings.Cut(n.text, "\n"+heading)
	if !ok {
		n.t.Fatalf("there is no step %s in\n%s", heading, n.text)
	}
	text, _, _ = strings.Cut(text, "\n# ")
	return "#" + text
}

// file gives what a step writes into a file.
func (n *newcomer) file(heading string) string {
	n.t.Helper()
	_, text, _ := strings.Cut(n.step(heading), "<<'EOF'\n")
	text, _, ok := strings.Cut(text, "EOF\n")
	if !ok {
		n.t.Fatalf("step %s writes no file", heading)
	}
	return text
}

func (n *newcomer) bash(script, input string) string {
	n.t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		n.t.Skip("there is no bash here")
	}
	cmd := exec.CommandContext(n.t.Context(), bash, "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Stdin = n.dir, strings.NewReader(input)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(strings.ToLower(v), "http_proxy=") })
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// signOne has an assessment of the study signed.
func signOne(t *testing.T, p *program, study string) {
	t.Helper()
	a := killAssessment("first", 1, 1)
	a.Study = study
	if _, err := registerAndSign(t.Context(), p.outbox, a); err != nil {
		t.Fatal(err)
	}
	awaitCaughtUp(t, p)
}

func TestTheQuickStartLeadsToTheFirstPage(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl here")
	}
	dir := t.TempDir()
	p, _ := startProgram(t, dir)
	addPI(t, dir, "pi", oddStudy)
	signOne(t, p, oddStudy)
	n := arrive(t, dir, oddStudy)
	answer := n.bash(n.step("# 2."), "")
	var page bundle
	if err := json.Unmarshal([]byte(answer), &page); err != nil || page.Total != 1 {
		t.Errorf("the page is %s", answer)
	}
}
