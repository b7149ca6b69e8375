package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

// execSQL changes the outbox past the program.
func execSQL(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), datadir.Dir(dir).Outbox(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.Writer.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// trailDir returns a data directory with a PI, a partner and a signed assessment of
// the demo's seed, study FHIR-T, and a PI of another study.
func trailDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	addPI(t, dir, "pi", "FHIR-T")
	addPI(t, dir, "other", "OTHER")
	mustSignoff(t, "pi", "disable", "pi", "--data", dir)
	addPI(t, dir, "rivera", "FHIR-T")
	mustSignoff(t, "import", "demo/seed.json", "--data", dir)
	args := []string{"sign", "--as", "rivera", "--meaning", "I approve", "--password-file", passwordFile(t), "--data", dir}
	mustSignoff(t, append(args, pinnedIDs(t, dir, "790")...)...)
	return dir
}

func TestAuditPrintsATableThatTheEnvironmentDoesNotNarrow(t *testing.T) {
	dir := trailDir(t)
	for _, name := range []string{"SIGNOFF_STUDY", "SIGNOFF_ACTOR", "SIGNOFF_ACTION", "SIGNOFF_ASSESSMENT", "SIGNOFF_SINCE", "SIGNOFF_UNTIL", "SIGNOFF_HEAD"} {
		t.Setenv(name, "2001")
	}
	all := strings.Split(strings.TrimSpace(mustSignoff(t, "audit", "--data", dir).out), "\n")
	if len(all) < 10 || strings.Join(strings.Fields(all[0]), " ") != "LINE TIME ACTOR ACTION STUDY SUBJECT FROM DETAIL" {
		t.Fatalf("%d lines: %s", len(all), all[0])
	}
	actions := func(args ...string) string {
		t.Helper()
		r := mustSignoff(t, append([]string{"audit", "--json", "--data", dir}, args...)...)
		var out []string
		for _, line := range strings.Split(strings.TrimSpace(r.out), "\n") {
			var e outbox.AuditEntry
			if line == "" {
				continue
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Account == "" || e.Host == "" || e.Process == 0 || e.Hash == "" {
				t.Errorf("%v: %s", err, line)
			}
			out = append(out, e.Action+" "+e.Subject)
		}
		return strings.Join(out, ", ")
	}
	for _, c := range []struct{ args, want string }{
		{"--study FHIR-T", "pi.added pi, pi.password-set pi, pi.disabled pi, pi.added rivera, pi.password-set rivera, assessment.registered 790, assessment.registered 792, assessment.signed 790"},
		{"--study OTHER", "pi.added other, pi.password-set other"},
		{"--assessment 790", "assessment.registered 790, assessment.signed 790"},
		{"--actor rivera", "pi.password-set rivera, assessment.signed 790"},
		{"--action pi.disabled", "pi.disabled pi"},
		{"--action pi --until 2999-12", "pi.added pi, pi.password-set pi, pi.added other, pi.password-set other, pi.disabled pi, pi.added rivera, pi.password-set rivera"},
		{"--until 2001", ""},
		{"--since 2999-12-31T10:00:00Z", ""},
	} {
		if got := actions(strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s prints %s, want %s", c.args, got, c.want)
		}
	}
	if out := mustSignoff(t, "audit", "--until", "2001", "--data", dir).out; out != "no line of the audit trail matches\n" {
		t.Errorf("audit without a line prints %q", out)
	}
	for _, args := range []string{"--since yesterday", "--until 2026-13", "--head --actor pi"} {
		if r := signoff(t, append([]string{"audit", "--data", dir}, strings.Fields(args)...)...); r.status != exitUsage {
			t.Errorf("%s: status %d, %s", args, r.status, r.err)
		}
	}
}

func TestAuditHead(t *testing.T) {
	t.Parallel()
	dir := trailDir(t)
	var facts headFacts
	if err := json.Unmarshal([]byte(mustSignoff(t, "audit", "--head", "--json", "--data", dir).out), &facts); err != nil {
		t.Fatal(err)
	}
	if facts.Line != 10 || len(facts.Hash) != 64 || facts.Published != nil {
		t.Errorf("%+v", facts)
	}
	if r := mustSignoff(t, "audit", "--head", "--data", dir); !strings.Contains(r.out, facts.Hash) || !strings.Contains(r.out, "nothing yet") {
		t.Error(r.out)
	}
	execSQL(t, dir, `drop trigger audit_no_update`, `update audit set actor = 'nobody' where row = 5`)
	r := signoff(t, "audit", "--head", "--data", dir)
	if r.status != exitRefused || !strings.Contains(r.err, "line 5 of the audit trail was changed") || !strings.Contains(r.err, "audit_no_update") {
		t.Errorf("status %d, %s%s", r.status, r.out, r.err)
	}
}

func TestAServerPublishesTheHeadAndChecksTheTrailWhenItStarts(t *testing.T) {
	t.Parallel()
	dir := trailDir(t)
	p, stop := startServer(t, dir)
	acme := newPartner(t, p, "acme", "FHIR-T")
	var head outbox.TrailHead
	eventually(t, "the head to be published, at most a minute after the one before", func() error {
		if err := p.Outbox.EveryMinute(t.Context()); err != nil {
			return err
		}
		last, published, err := p.Outbox.VerifyTrail(t.Context())
		if err != nil || published.Line != last.Line || published.Hash != last.Hash {
			return fmt.Errorf("published %+v of %+v, %w", published, last, err)
		}
		head = last
		return nil
	})
	last, err := p.Outbox.ChainHead(t.Context(), events.AccessStudy)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Model.WaitForChainHead(t.Context(), events.AccessStudy, last); err != nil {
		t.Fatal(err)
	}
	if findings := awaitReady(t, p); findings["auditTrail"] != "" {
		t.Errorf("%v", findings)
	}
	if _, total := acme.pages("/DiagnosticReport?researchstudy=FHIR-T"); total != 1 {
		t.Errorf("%d reports", total)
	}
	stop()

	// The end of the trail is cut off, and all triggers are put back.
	execSQL(t, dir, `drop trigger audit_no_delete`, fmt.Sprintf(`delete from audit where row > %d`, head.Line-2),
		`create trigger audit_no_delete before delete on audit
begin
	select raise(abort, 'the audit trail cannot be deleted');
end`)
	var log lockedBuffer
	p, _ = startWith(t, dir, loopback(), slog.New(slog.NewTextHandler(&log, nil)))
	eventually(t, "a finding", func() error {
		status, findings := readiness(t, p)
		want := fmt.Sprintf("the audit trail ends with line %d, but line %d was published", head.Line-2, head.Line)
		if status != http.StatusOK || !strings.Contains(findings["auditTrail"], want) {
			return fmt.Errorf("%d %v", status, findings)
		}
		return nil
	})
	eventually(t, "the log to have it", func() error {
		if text := log.String(); !strings.Contains(text, "the audit trail is not as it was written") {
			return errors.New(text)
		}
		return nil
	})
	eventually(t, "signoff status to print it", func() error {
		if r := mustSignoff(t, "status", "--data", dir); !strings.Contains(r.out, "auditTrail: the audit trail ends with line") {
			return errors.New(r.out)
		}
		return nil
	})
}

func TestSigningByAClockThatIsWrongOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := trailDir(t)
	ahead := func() time.Time { return time.Now().Add(80 * 365 * 24 * time.Hour) }
	o, err := outbox.Open(t.Context(), datadir.Dir(dir).Outbox(), outbox.Config{Clock: ahead})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.SignOff(t.Context(), outbox.SignOff{User: "rivera", Meaning: "I approve", IDs: []string{"792"}}); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	withdraw := []string{"withdraw", "790", "--as", "rivera", "--meaning", "I withdraw", "--reason", "wrong", "--password-file", passwordFile(t), "--data", dir}
	if r := signoff(t, withdraw...); r.status != exitRefused || !strings.Contains(r.err, "signoff clock accept") {
		t.Errorf("status %d, %s", r.status, r.err)
	}
	p, _ := startServer(t, dir)
	eventually(t, "a finding", func() error {
		if status, findings := readiness(t, p); status != http.StatusOK || !strings.Contains(findings["clock"], "signoff clock accept") {
			return fmt.Errorf("%d %v", status, findings)
		}
		return nil
	})
	if r := mustSignoff(t, "clock", "accept", "--data", dir); !strings.Contains(r.out, fmt.Sprint(time.Now().UTC().Year())) {
		t.Error(r.out)
	}
	mustSignoff(t, withdraw...)
	if err := p.Outbox.EveryMinute(t.Context()); err != nil || p.Outbox.ClockFinding() != nil {
		t.Error(err)
	}
	if r := mustSignoff(t, "audit", "--action", "clock.accepted", "--data", dir); !strings.Contains(r.out, "clock.accepted") {
		t.Error(r.out)
	}
}
