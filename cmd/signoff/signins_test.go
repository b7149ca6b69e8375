package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/outbox"
)

// A failed login to NATS is in the audit trail as one over HTTP is, and the right secret
// opens both right after many wrong ones from the same address.
func TestFailedLoginsOverHTTPAndNATSAreAudited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := startServer(t, dir)
	client, secret := newPartnerWithSecret(t, p, "acme", "S1")
	opensWith := func(secret string) error {
		nc, err := login(p.NATS.ClientURL(), "acme", secret)
		if err == nil {
			nc.Close()
		}
		return err
	}
	for range 6 {
		if opensWith("not the secret") == nil {
			t.Fatal("a wrong secret opens NATS")
		}
		if _, err := p.Outbox.Accounts().AuthenticateClient(t.Context(), "acme", "not the secret", "127.0.0.1"); err == nil {
			t.Fatal("a wrong secret opens the token endpoint")
		}
	}
	eventually(t, "a login", func() error { return opensWith(secret) })
	client.signIn(secret)

	byProtocol := func() map[string]int {
		lines := make(map[string]int)
		err := p.Outbox.Audit(t.Context(), outbox.AuditFilter{Subject: "acme"}, func(e outbox.AuditEntry) error {
			var detail struct{ Protocol, Name, Address, Reason string }
			if err := json.Unmarshal(e.Detail, &detail); err != nil || e.Action != "sign-in.failed" {
				return err
			}
			if e.Actor != "" || detail.Name != "acme" || detail.Address != "127.0.0.1" || detail.Reason != "wrong secret" {
				t.Errorf("%+v %s", e, e.Detail)
			}
			lines[detail.Protocol]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	eventually(t, "a failed login over NATS", func() error {
		if lines := byProtocol(); lines["nats"] == 0 {
			return fmt.Errorf("%v", lines)
		}
		return nil
	})
	if lines := byProtocol(); lines["nats"] != 1 || lines["http"] != 1 {
		t.Errorf("%v", lines)
	}
}

func TestAPIChoosesAPasswordInPlaceOfTheOperators(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	initial, own := file("initial", "for the first time only"), file("own", "a password of my own")
	added := mustSignoff(t, "pi", "add", "rivera", "--name", "Dr. Rivera", "--study", "FHIR-T", "--password-file", initial, "--data", dir)
	if strings.Contains(added.out, "first time") || !strings.Contains(added.out, "signoff pi password rivera") {
		t.Errorf("pi add prints %q", added.out)
	}
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	sign := func(id, password string) []string {
		return []string{"sign", pinnedIDs(t, dir, id)[0], "--as", "rivera", "--meaning", meaning, "--password-file", password, "--data", dir}
	}
	refusal(t, exitRefused, sign("790", initial), "only for choosing another one", "signoff pi password rivera")
	refusal(t, exitRefused, []string{"pi", "password", "rivera", "--password-file", own, "--new-password-file", own, "--data", dir}, "wrong")
	refusal(t, exitRefused, []string{"pi", "password", "rivera", "--password-file", initial, "--new-password-file", file("weak", "Rivera-Rivera-1"), "--data", dir}, "user name")
	refusal(t, exitUsage, []string{"pi", "password", "rivera", "--password-file", "-", "--new-password-file", "-", "--data", dir}, "standard input")
	mustSignoff(t, "pi", "password", "rivera", "--password-file", initial, "--new-password-file", own, "--data", dir)
	if first := mustSignoff(t, sign("790", own)...); !strings.Contains(first.err, "Last sign-in of rivera: never.") {
		t.Errorf("sign prints %q", first.err)
	}

	var reset oneTimePassword
	if err := json.Unmarshal([]byte(mustSignoff(t, "pi", "reset", "rivera", "--data", dir, "--json").out), &reset); err != nil || len(reset.Password) < 26 {
		t.Fatalf("%+v, %v", reset, err)
	}
	refusal(t, exitRefused, sign("792", own), "wrong")
	choose(t, dir, "rivera", reset.Password, file("next", "one more of my own"))
	second := mustSignoff(t, sign("792", file("next", "one more of my own"))...)
	if strings.Contains(second.err, "never") || !strings.Contains(second.err, " from local. Last one-time password of an operator: 20") {
		t.Errorf("sign prints %q", second.err)
	}
	refusal(t, exitRefused, []string{"pi", "reset", "nobody", "--data", dir}, "nobody")
	refusal(t, exitRefused, []string{"pi", "add", "Rivera", "--name", "Another", "--study", "FHIR-T", "--data", dir}, "other case")
}
