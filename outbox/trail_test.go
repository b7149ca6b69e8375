package outbox_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

// acl makes a PI, a partner and a key, with changes of each.
func acl(t *testing.T, d *testOutbox) {
	t.Helper()
	acc := d.Accounts()
	ok(t, acc.GrantPI(t.Context(), operator, "dr.a", "OTHER"))
	ok(t, acc.RevokePI(t.Context(), operator, "dr.a", "OTHER"))
	must(acc.ResetPassword(t.Context(), operator, "dr.a"))(t)
	must(acc.AddPartner(t.Context(), operator, "acme", "Acme", []string{study}))(t)
	ok(t, acc.GrantPartner(t.Context(), operator, "acme", "OTHER"))
	ok(t, acc.AnnounceKey(t.Context(), must(access.NewSigner(must(access.NewKey())(t)))(t).Key(d.clock.now())))
	rotation := must(acc.RequestKeyRotation(t.Context(), operator))(t)
	ok(t, acc.AnnounceNextKey(t.Context(), rotation, must(access.NewSigner(must(access.NewKey())(t)))(t).Key(d.clock.now())))
}

func TestStateNamesItsLineOfTheAuditTrail(t *testing.T) {
	d := newOutbox(t, "dr.a", "dr.b")
	acl(t, d)
	db := raw(t, d.path).Writer
	for _, table := range []string{"people", "former_passwords", "grants", "partners", "keys", "key_rotations"} {
		var unnamed int
		ok(t, db.Get(&unnamed, `select count(*) from `+table+` where not exists (select 1 from audit where row = line)`))
		if unnamed > 0 {
			t.Errorf("%d rows of %s name no line", unnamed, table)
		}
	}
	addLine := func(action, subject, study string) string {
		t.Helper()
		_, err := db.Exec(`
			insert into audit (row, time, actor, action, study, subject, detail, hash)
			values ((select max(row) + 1 from audit), '2026-01-31T12:00:00.000000Z', 'ops', ?, ?, ?, '{}', ?)`, action, study, subject, strings.Repeat("0", 64))
		ok(t, err)
		var line string
		ok(t, db.Get(&line, `select max(row) from audit`))
		return line
	}
	refused := func(what, statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err == nil {
			t.Errorf("%s was accepted: %s", what, statement)
		}
	}
	for what, statement := range map[string]string{
		"a changed printed name":    `update people set name = 'Dr. Mallory' where user = 'dr.a'`,
		"a swapped password":        `update people set password = (select password from people where user = 'dr.b') where user = 'dr.a'`,
		"a one-time password":       `update people set one_time = '2036-01-31T12:00:00.000000Z' where user = 'dr.a'`,
		"a forgotten reset":         `update people set reset = '' where user = 'dr.a'`,
		"a former password":         `insert into former_passwords (user, password) values ('dr.a', 'x')`,
		"a changed former password": `update former_passwords set password = 'x'`,
		"a deleted former password": `delete from former_passwords`,
		"a new PI":                  `insert into people (user, name, password) values ('mallory', 'M', 'x')`,
		"a disabled PI":             `update people set disabled = '2026-01-31T12:00:00.000000Z' where user = 'dr.a'`,
		"an inserted grant":         `insert into grants (user, study) values ('dr.a', 'SECRET')`,
		"a replaced grant":          `insert or replace into grants (user, study) values ('dr.a', '` + study + `')`,
		"a deleted grant":           `delete from grants where user = 'dr.a'`,
		"a revoked grant come back": `update grants set revoked = '' where user = 'dr.a' and study = 'OTHER'`,
		"a moved grant":             `update grants set user = 'dr.b' where user = 'dr.a' and study = 'OTHER'`,
		"an inserted partner":       `insert into partners (id, state) values ('mallory', '{}')`,
		"a partner's new secret":    `update partners set state = '{}'`,
		"a replaced partner":        `insert or replace into partners (id, state, line) select id, '{}', line from partners`,
		"a deleted partner":         `delete from partners`,
		"an inserted key":           `insert into keys (id, state) values ('mallory', '{}')`,
		"a key's new time":          `update keys set state = '{}'`,
		"a deleted key":             `delete from keys`,
		"a requested key rotation":  `insert into key_rotations (requester, requested) values ('ops', '2026-01-31T12:00:00.000000Z')`,
		"a rotation to another key": `update key_rotations set key = 'mallory'`,
		"a rotation by somebody":    `update key_rotations set requester = 'mallory'`,
		"a finished rotation":       `update key_rotations set finished = '2026-01-31T12:00:00.000000Z'`,
		"a deleted rotation":        `delete from key_rotations`,
		"an inserted source":        `insert into sources (id, secret) values ('mallory', 'x')`,
	} {
		refused(what, statement)
	}

	line := addLine("pi.password-set", "dr.b", "")
	refused("a line about another PI", `update people set password = 'x', line = `+line+` where user = 'dr.a'`)
	line = addLine("sign-in.failed", "dr.a", "")
	refused("a line about something else", `update people set password = 'x', line = `+line+` where user = 'dr.a'`)
	refused("a line that is not there", `update people set password = 'x', line = `+line+` + 1 where user = 'dr.a'`)
	line = addLine("pi.password-set", "dr.a", "")
	refused("a reset that is forgotten by the line of a chosen password", `update people set reset = '', line = `+line+` where user = 'dr.a'`)
	refused("a PI disabled by the line of a chosen password", `update people set disabled = '2026-01-31T12:00:00.000000Z', line = `+line+` where user = 'dr.a'`)
	later := addLine("pi.password-set", "dr.a", "")
	_, err := db.Exec(`update people set password = 'x', line = ` + later + ` where user = 'dr.a'`)
	ok(t, err)
	refused("a line that was used", `update people set password = 'y', line = `+later+` where user = 'dr.a'`)
	refused("a line older than the one before", `update people set password = 'y', line = `+line+` where user = 'dr.a'`)
	refused("a line that stays", `update people set password = 'y' where user = 'dr.a'`)

	line = addLine("pi.granted", "dr.a", "S1")
	refused("the grant of another study", `insert into grants (user, study, line) values ('dr.a', 'S2', `+line+`)`)
	refused("the grant of another PI", `insert into grants (user, study, line) values ('dr.b', 'S1', `+line+`)`)
	_, err = db.Exec(`insert into grants (user, study, line) values ('dr.a', 'S1', ` + line + `)`)
	ok(t, err)
	refused("a revocation by the line of the grant", `update grants set revoked = 'now', line = `+line+` where user = 'dr.a' and study = 'S1'`)
	line = addLine("pi.granted", "dr.a", "S1")
	refused("a revocation by the line of another grant", `update grants set revoked = 'now', line = `+line+` where user = 'dr.a' and study = 'S1'`)

	line = addLine("key.announced", "mallory", "")
	refused("a rotation to another key than that of the line", `update key_rotations set key = 'other', line = `+line)
	refused("a rotation that is finished by the announcement of a key", `update key_rotations set finished = '2026-01-31T12:00:00.000000Z', line = `+line)
	line = addLine("key.rotation-requested", "", "")
	refused("a rotation requested by somebody else", `insert into key_rotations (requester, requested, line) values ('mallory', '2026-01-31T12:00:00.000000Z', `+line+`)`)
	_, err = db.Exec(`insert into key_rotations (requester, requested, line) values ('ops', '2026-01-31T12:00:00.000000Z', ` + line + `)`)
	ok(t, err)
	refused("a second rotation by one line", `insert into key_rotations (requester, requested, line) values ('ops', '2026-01-31T12:00:00.000000Z', `+line+`)`)

	line = addLine("source.added", "edc", "")
	_, err = db.Exec(`insert into sources (id, secret, line) values ('edc', 'x', ` + line + `)`)
	ok(t, err)
	refused("a source's new secret", `update sources set secret = 'y'`)
	line = addLine("source.rotated", "edc", "")
	_, err = db.Exec(`update sources set secret = 'y', line = ` + line)
	ok(t, err)
}

// altered wants an Altered error with each of the texts.
func altered(t *testing.T, o *outbox.Outbox, texts ...string) {
	t.Helper()
	_, _, err := o.VerifyTrail(t.Context())
	if events.CodeOf(err) != events.Altered {
		t.Fatalf("found: %v", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in %q", text, err)
		}
	}
}

// trailHead wants the audit trail to be right.
func trailHead(t *testing.T, o *outbox.Outbox) (head, published outbox.TrailHead) {
	t.Helper()
	head, published, err := o.VerifyTrail(t.Context())
	ok(t, err)
	return head, published
}

func TestTheAuditTrailIsAHashChain(t *testing.T) {
	newTrail := func(t *testing.T) (*testOutbox, *sqlite.DB) {
		t.Helper()
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1))
		d.sign("1")
		must(d.withdrawAs("dr.a", "1", "reason"))(t)
		return d, raw(t, d.path)
	}
	tamper := func(t *testing.T, db *sqlite.DB, statements ...string) {
		t.Helper()
		// The triggers are put back, so that only the trail shows what was done.
		var triggers []string
		ok(t, db.Reader.Select(&triggers, `select sql from sqlite_master where type = 'trigger' and tbl_name in ('audit', 'people', 'settings')`))
		var names []string
		ok(t, db.Reader.Select(&names, `select name from sqlite_master where type = 'trigger' and tbl_name in ('audit', 'people', 'settings')`))
		for _, name := range names {
			must(db.Writer.Exec(`drop trigger ` + name))(t)
		}
		for _, statement := range append(statements, triggers...) {
			must(db.Writer.Exec(statement))(t)
		}
	}
	publish := func(t *testing.T, d *testOutbox) {
		t.Helper()
		d.clock.advance(time.Minute)
		ok(t, d.EveryMinute(t.Context()))
	}

	t.Run("whose head moves with each line, and is found whole", func(t *testing.T) {
		d, _ := newTrail(t)
		before, published := trailHead(t, d.Outbox)
		if before.Line != 6 || len(before.Hash) != 64 || !before.Time.Equal(d.clock.now()) && before.Time.IsZero() || published != (outbox.TrailHead{}) {
			t.Errorf("%+v, published %+v", before, published)
		}
		must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
		if after, _ := trailHead(t, d.Outbox); after.Line != 7 || after.Hash == before.Hash {
			t.Errorf("%+v", after)
		}
	})
	t.Run("is begun within a host's transaction", func(t *testing.T) {
		d, _ := newTrail(t)
		tx := d.DB().Writer.MustBegin()
		must(d.SignOffTx(t.Context(), tx, outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"2"}}))(t)
		ok(t, tx.Commit())
		if head, _ := trailHead(t, d.Outbox); head.Line != 7 {
			t.Errorf("%+v", head)
		}
	})
	for column, value := range map[string]string{
		"time": "'2026-01-31T11:00:00.000000Z'", "actor": "'dr.b'", "action": "'pi.added'", "study": "'S'", "subject": "'2'",
		"version": "2", "detail": "'{}'", "account": "'mallory'", "host": "'elsewhere'", "process": "1", "address": "'192.0.2.1'",
		"hash": "'" + strings.Repeat("0", 64) + "'",
	} {
		t.Run("that shows a changed "+column, func(t *testing.T) {
			d, db := newTrail(t)
			tamper(t, db, `update audit set `+column+` = `+value+` where row = 5`)
			altered(t, d.Outbox, "line 5 of the audit trail was changed")
		})
	}
	t.Run("that shows a missing line", func(t *testing.T) {
		d, db := newTrail(t)
		tamper(t, db, `delete from audit where row = 3`)
		altered(t, d.Outbox, "line 3 is missing in the audit trail")
	})
	t.Run("that shows a line that was put in", func(t *testing.T) {
		d, db := newTrail(t)
		tamper(t, db, `update audit set row = 7 where row = 6`, `insert into audit select 6, time, actor, action, study, subject, version, detail, account, host, process, address, hash from audit where row = 5`)
		altered(t, d.Outbox, "line 6 of the audit trail was changed")
	})
	t.Run("that shows a line without a hash, and a chain that begins anew", func(t *testing.T) {
		d, db := newTrail(t)
		tamper(t, db, `update audit set hash = ''`)
		altered(t, d.Outbox, "line 1 of the audit trail was changed")
		tamper(t, db, `update audit set hash = ''`, `delete from settings where name = 'audit chain'`)
		altered(t, d.Outbox, "the setting that names the first line")
	})
	t.Run("whose cut end is shown by its published head", func(t *testing.T) {
		d, db := newTrail(t)
		publish(t, d)
		d.sign("2")
		tamper(t, db, `delete from audit where row > 5`)
		altered(t, d.Outbox, "ends with line 5", "line 6 was published at", "line 6 is missing")
	})
	t.Run("whose cut end is shown by the state that names it", func(t *testing.T) {
		d, db := newTrail(t)
		must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
		tamper(t, db, `delete from audit where row > 5`)
		altered(t, d.Outbox, "ends with line 5", "a PI names line 7")
	})
	t.Run("that cannot be written anew up to its published head", func(t *testing.T) {
		d, db := newTrail(t)
		publish(t, d)
		ok(t, d.Close())
		tamper(t, db, `delete from audit where row > 5`)
		o := open(t, d.path, outbox.Config{Clock: d.clock.now, Elapsed: d.clock.elapsed()})
		must(o.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"2"}}))(t)
		altered(t, o, "line 6 of the audit trail is not the one whose hash was published")
	})
	t.Run("with the triggers that keep it from change", func(t *testing.T) {
		d, db := newTrail(t)
		must(db.Writer.Exec(`drop trigger audit_no_update`))(t)
		must(db.Writer.Exec(`drop trigger people_line_changed`))(t)
		must(db.Writer.Exec(`create trigger people_line_changed before update on people when 0 begin select 1; end`))(t)
		altered(t, d.Outbox, "triggers", "audit_no_update, people_line_changed")
	})
	t.Run("with a trigger that was added to keep lines out, and none of a host's own tables", func(t *testing.T) {
		d, db := newTrail(t)
		must(db.Writer.Exec(`create table host (id text) strict`))(t)
		must(db.Writer.Exec(`create trigger host_added after insert on host begin select 1; end`))(t)
		trailHead(t, d.Outbox)
		must(db.Writer.Exec(`create trigger pass_over before insert on Audit when new.action = 'assessment.signed' begin select raise(ignore); end`))(t)
		altered(t, d.Outbox, "has triggers that signoff has not made", "pass_over")
	})
}

func TestTheHeadOfTheTrailIsPublishedAtMostOnceAMinute(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1))
	audited := func() (out []events.Event) {
		t.Helper()
		for _, e := range all(t, d.Outbox) {
			if e.Kind() == events.AccessAudited {
				out = append(out, e)
			}
		}
		return out
	}
	minute := func(n int) {
		t.Helper()
		ok(t, d.EveryMinute(t.Context()))
		if got := audited(); len(got) != n {
			t.Fatalf("%d heads are published, want %d", len(got), n)
		}
	}
	minute(1)
	d.sign("1")
	minute(1)
	d.clock.advance(59 * time.Second)
	minute(1)
	d.clock.advance(time.Second)
	minute(2)
	d.clock.advance(time.Hour)
	minute(2) // nothing has changed
	ok(t, d.Accounts().DisablePI(t.Context(), operator, "dr.a"))
	d.clock.advance(-2 * time.Hour)
	wantCode(t, d.EveryMinute(t.Context()), events.Conflict, "but the last event is of")
	got := audited()
	if len(got) != 3 {
		t.Fatalf("%d heads are published by a clock that was set back", len(got))
	}
	follow(t, all(t, d.Outbox))
	head, published := trailHead(t, d.Outbox)
	var body outbox.TrailHead
	ok(t, json.Unmarshal(got[2].Data, &body))
	if body != head || published.Line != head.Line || published.Hash != head.Hash {
		t.Errorf("published %+v and %+v of %+v", body, published, head)
	}
	if e := got[2]; e.Study != events.AccessStudy || e.Subject != fmt.Sprintf("Audit/%d", head.Line) || e.Kind().NeedsNewer() {
		t.Errorf("%+v", e)
	}
}

// olderOutbox makes the outbox of a version without hashes, with so many lines in
// its audit trail.
func olderOutbox(t testing.TB, lines int) (path string) {
	t.Helper()
	dir := t.TempDir()
	schema := filepath.Join(dir, "schema")
	ok(t, os.Mkdir(schema, 0o700))
	for _, file := range must(filepath.Glob("schema/*.sql"))(t) {
		if strings.HasSuffix(file, "_trail.sql") {
			break
		}
		ok(t, os.WriteFile(filepath.Join(schema, filepath.Base(file)), must(os.ReadFile(file))(t), 0o600))
	}
	path = filepath.Join(dir, "outbox.db")
	db := must(sqlite.Open(t.Context(), path, sqlite.Config{}))(t)
	ok(t, db.Migrate(t.Context(), os.DirFS(schema)))
	must(db.Writer.Exec(`insert into people (user, name, password) values ('dr.a', 'Printed dr.a', 'x')`))(t)
	must(db.Writer.Exec(`insert into grants (user, study) values ('dr.a', 'FHIR-T')`))(t)
	must(db.Writer.Exec(`
		with recursive n (row) as (select 1 union all select row + 1 from n where row < ?)
		insert into audit (row, time, actor, action, study, subject, version, detail)
		select row, '2026-01-31T12:00:00.000000Z', 'dr.a', 'pi.password-set', 'FHIR-T', 'dr.a', null,
			'{"meaning":"I have reviewed and approve this assessment","sequence":' || row || ',"event":"01941f29-7c00-7000-8000-000000000000"}'
		from n`, lines))(t)
	ok(t, db.Close())
	return path
}

func TestTheFirstLineOfTheChainHashesAllOlderLines(t *testing.T) {
	path := olderOutbox(t, 100)
	now := newClock()
	o := open(t, path, outbox.Config{Clock: now.now})
	head, _ := trailHead(t, o)
	var last outbox.AuditEntry
	ok(t, o.Audit(t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		if (e.Hash == "") != (e.Number <= 100) {
			t.Errorf("line %d has the hash %q", e.Number, e.Hash)
		}
		last = e
		return nil
	}))
	if last.Number != 101 || last.Action != "audit.chained" || string(last.Detail) != `{"lines":100}` || head.Hash != last.Hash {
		t.Errorf("%+v, head %+v", last, head)
	}
	if again, _ := trailHead(t, open(t, path, outbox.Config{Clock: now.now})); again != head {
		t.Errorf("opened again, the head is %+v", again)
	}
	db := raw(t, path)
	if _, err := db.Writer.Exec(`update people set password = 'y', line = 50`); err == nil {
		t.Error("a line of before was named")
	}
	must(db.Writer.Exec(`drop trigger audit_no_update`))(t)
	must(db.Writer.Exec(`update audit set actor = 'dr.b' where row = 50`))(t)
	altered(t, o, "one of the lines 1 to 101", "audit_no_update")
}

func BenchmarkMigrationOfTheTrail(b *testing.B) {
	lines := 1_000_000
	if testing.Short() {
		lines = 10_000
	}
	for b.Loop() {
		b.StopTimer()
		path := olderOutbox(b, lines)
		b.StartTimer()
		o := must(outbox.Open(b.Context(), path, outbox.Config{}))(b)
		b.StopTimer()
		start := time.Now()
		must(ignoreFirst(o.VerifyTrail(b.Context())))(b)
		b.ReportMetric(time.Since(start).Seconds(), "verify-s")
		ok(b, o.Close())
		b.StartTimer()
	}
}

func ignoreFirst(head, _ outbox.TrailHead, err error) (outbox.TrailHead, error) { return head, err }

func TestALineNamesWhereItWasWritten(t *testing.T) {
	d := newOutbox(t)
	host := must(os.Hostname())(t)
	_, err := d.Accounts().Authenticate(outbox.WithAddress(t.Context(), "203.0.113.9"), "dr.a", "not the password", "192.0.2.7")
	wantCode(t, err, events.Unauthenticated)
	_, err = d.Accounts().AuthenticateClient(t.Context(), "acme", "wrong", "2001:db8::1")
	wantCode(t, err, events.Unauthenticated)
	_, err = d.Accounts().Authenticate(t.Context(), "dr.a", "not the password", "local")
	wantCode(t, err, events.Unauthenticated)
	d.register(assessment("1", 1, 1, 1))
	ok(t, d.Accounts().ChoosePassword(t.Context(), "dr.a", password, "another battery of horses", "192.0.2.8"))
	must(d.SignOff(outbox.WithAddress(t.Context(), "198.51.100.4"), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}}))(t)
	var addresses []string
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{}, func(e outbox.AuditEntry) error {
		if e.Account == "" || e.Host != host || e.Process != int64(os.Getpid()) {
			t.Errorf("%+v", e)
		}
		addresses = append(addresses, e.Action+" "+e.Address)
		return nil
	}))
	want := []string{"pi.added ", "pi.password-set ", "sign-in.failed 192.0.2.7", "sign-in.failed 2001:db8::1", "sign-in.failed ", "assessment.registered ", "pi.password-set 192.0.2.8", "assessment.signed 198.51.100.4"}
	if diff := cmp.Diff(want, addresses); diff != "" {
		t.Error(diff)
	}
}

func TestTheNumberOfFailedSignInsHasTheAddressOfThoseWhoFailed(t *testing.T) {
	d := newOutbox(t)
	fail := func(address string) {
		t.Helper()
		_, err := d.Accounts().Authenticate(t.Context(), "dr.a", "not the password", address)
		wantCode(t, err, events.Unauthenticated)
		_, err = d.Accounts().AuthenticateClient(t.Context(), "acme", "wrong", address)
		wantCode(t, err, events.Unauthenticated)
	}
	stop := run(t, d.Outbox)
	fail("192.0.2.1")
	fail("192.0.2.1")
	stop() // what is counted in memory is written
	d.clock.advance(15 * time.Minute)
	fail("192.0.2.2")
	var got []string
	ok(t, d.Audit(t.Context(), outbox.AuditFilter{Action: "sign-in"}, func(e outbox.AuditEntry) error {
		got = append(got, e.Action+" "+e.Address)
		return nil
	}))
	want := []string{
		"sign-in.failed 192.0.2.1", "sign-in.failed 192.0.2.1", "sign-in.failures 192.0.2.1", "sign-in.failures 192.0.2.1",
		"sign-in.failed 192.0.2.2", "sign-in.failed 192.0.2.2",
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAuditFilters(t *testing.T) {
	d := newOutbox(t, "dr.a", "dr-b")
	acc := d.Accounts()
	ok(t, acc.AddPI(t.Context(), operator, "dr.c", "C", []string{"OTHER"}, "for the first time only"))
	must(acc.ResetPassword(t.Context(), operator, "dr.c"))(t)
	ok(t, acc.GrantPI(t.Context(), operator, "dr.a", "OTHER"))
	must(acc.AddPartner(t.Context(), operator, "acme", "Acme", []string{study}))(t)
	must(acc.AddPartner(t.Context(), operator, "dr-b", "a partner named like a PI", []string{"OTHER"}))(t)
	must(acc.RotatePartner(t.Context(), operator, "acme", 0))(t)
	must(acc.RotatePartner(t.Context(), operator, "dr-b", 0))(t)
	d.clock.advance(24 * time.Hour)
	d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1))
	d.sign("1")
	_, err := acc.Authenticate(t.Context(), "dr-b", "not the password", "local")
	wantCode(t, err, events.Unauthenticated)
	ok(t, acc.RevokePI(t.Context(), operator, "dr-b", study))
	ok(t, acc.DisablePI(t.Context(), operator, "dr-b"))

	for name, c := range map[string]struct {
		filter outbox.AuditFilter
		want   []string
	}{
		"of a study": {outbox.AuditFilter{Study: study}, []string{
			"assessment.registered 1", "assessment.registered 2", "assessment.signed 1", "pi.revoked dr-b",
		}},
		"of a study and its people": {outbox.AuditFilter{Study: study, People: true}, []string{
			"pi.added dr.a", "pi.password-set dr.a", "pi.added dr-b", "pi.password-set dr-b", "partner.added acme", "partner.rotated acme",
			"assessment.registered 1", "assessment.registered 2", "assessment.signed 1", "sign-in.failed dr-b", "pi.revoked dr-b", "pi.disabled dr-b",
		}},
		"of an assessment":       {outbox.AuditFilter{Assessment: "1"}, []string{"assessment.registered 1", "assessment.signed 1"}},
		"of an actor":            {outbox.AuditFilter{Actor: "dr.a"}, []string{"pi.password-set dr.a", "assessment.signed 1"}},
		"of an action":           {outbox.AuditFilter{Action: "pi.disabled"}, []string{"pi.disabled dr-b"}},
		"of actions of one sort": {outbox.AuditFilter{Action: "partner"}, []string{"partner.added acme", "partner.added dr-b", "partner.rotated acme", "partner.rotated dr-b"}},
		"from a time on":         {outbox.AuditFilter{From: d.clock.now(), Action: "pi"}, []string{"pi.revoked dr-b", "pi.disabled dr-b"}},
		"until a time":           {outbox.AuditFilter{Until: d.clock.now(), Action: "pi.password-reset"}, []string{"pi.password-reset dr.c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			ok(t, d.Audit(t.Context(), c.filter, func(e outbox.AuditEntry) error {
				got = append(got, e.Action+" "+e.Subject)
				return nil
			}))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSigningByAClockThatIsWrong(t *testing.T) {
	checked := func(t *testing.T) *testOutbox {
		t.Helper()
		d := newOutbox(t)
		ok(t, d.Close())
		d.Outbox = open(t, d.path, outbox.Config{Clock: d.clock.now, CheckClock: true, Elapsed: d.clock.elapsed()})
		var batch []events.Assessment
		for i := range int32(9) {
			batch = append(batch, assessment(fmt.Sprint(i), i+1, 1, 1))
		}
		d.register(batch...)
		return d
	}
	signs := func(t *testing.T, d *testOutbox, id string) {
		t.Helper()
		must(d.signAs("dr.a", id))(t)
	}
	refuses := func(t *testing.T, d *testOutbox, id, text string) {
		t.Helper()
		_, err := d.signAs("dr.a", id)
		wantCode(t, err, events.Conflict, text, "signoff clock accept")
	}
	const century = 80 * 365 * 24 * time.Hour

	t.Run("is refused where it is behind the last event", func(t *testing.T) {
		d := checked(t)
		signs(t, d, "1")
		d.clock.advance(-5 * time.Minute)
		signs(t, d, "2")
		d.clock.advance(-time.Second)
		refuses(t, d, "3", "but the last event is of")
		_, err := d.withdrawAs("dr.a", "1", "reason")
		wantCode(t, err, events.Conflict, "the last event")
		must(d.signAs("dr.a", "1"))(t) // the first answer again
	})
	t.Run("is refused where it is a day beyond the last event and the last note", func(t *testing.T) {
		d := checked(t)
		signs(t, d, "1")
		d.clock.advance(24 * time.Hour)
		signs(t, d, "2")
		d.clock.advance(24*time.Hour + time.Second)
		refuses(t, d, "3", "more than a day after")
	})
	t.Run("is not refused by an outbox that is not asked to", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 2, 1, 1))
		d.sign("1")
		d.clock.advance(century)
		d.sign("2")
	})
	t.Run("is not refused after a quiet time that was noted", func(t *testing.T) {
		d := checked(t)
		signs(t, d, "1")
		for range 72 {
			d.clock.advance(time.Hour)
			ok(t, d.EveryMinute(t.Context()))
		}
		signs(t, d, "2")
	})
	t.Run("is refused though a server was started with that clock", func(t *testing.T) {
		d := checked(t)
		signs(t, d, "1")
		d.clock.advance(century)
		wantCode(t, d.EveryMinute(t.Context()), events.Conflict, "more than a day after")
		refuses(t, d, "2", "more than a day after")
	})
	t.Run("an operator can accept a clock that is ahead", func(t *testing.T) {
		d := checked(t)
		signs(t, d, "1")
		d.clock.advance(72 * time.Hour)
		refuses(t, d, "2", "more than a day after")
		if at := must(d.AcceptClock(t.Context(), operator))(t); !at.Equal(d.clock.now()) {
			t.Errorf("accepted %s", at)
		}
		signs(t, d, "2")
		ok(t, d.Audit(t.Context(), outbox.AuditFilter{Action: "clock"}, func(e outbox.AuditEntry) error {
			if e.Action != "clock.accepted" || e.Actor != operator {
				t.Errorf("%+v", e)
			}
			return nil
		}))
		d.clock.advance(24*time.Hour + time.Second)
		refuses(t, d, "3", "more than a day after")
	})
	t.Run("an operator can accept the right clock after events of one that was ahead", func(t *testing.T) {
		d := checked(t)
		d.clock.advance(century)
		must(d.AcceptClock(t.Context(), operator))(t)
		signs(t, d, "1")
		d.clock.advance(-century)
		refuses(t, d, "2", "but the last event is of")
		must(d.AcceptClock(t.Context(), operator))(t)
		signs(t, d, "2") // the study stays ahead, by a microsecond an event
		signs(t, d, "3")
		ok(t, d.EveryMinute(t.Context()))
		d.clock.advance(24*time.Hour + time.Minute)
		refuses(t, d, "4", "more than a day after")
	})
	t.Run("accepting cannot be forged without a line", func(t *testing.T) {
		d := checked(t)
		if _, err := raw(t, d.path).Writer.Exec(`update clock set accepted = '2106-01-01T00:00:00.000000Z'`); err == nil {
			t.Error("accepted")
		}
	})
}

func TestTheTimeIsNotedWhileTheClocksAgree(t *testing.T) {
	d := newOutbox(t)
	ok(t, d.Close())
	var steady time.Duration
	d.Outbox = open(t, d.path, outbox.Config{Clock: d.clock.now, Elapsed: func() time.Duration { return steady }})
	pass := func(wall, monotonic time.Duration) error {
		d.clock.advance(wall)
		steady += monotonic
		return d.EveryMinute(t.Context())
	}
	noted := func() string {
		var at sql.NullString
		ok(t, d.DB().Reader.Get(&at, `select noted from clock`))
		return at.String
	}
	ok(t, pass(time.Minute, time.Minute))
	if noted() != events.FormatTime(d.clock.now()) {
		t.Errorf("noted %s", noted())
	}
	before := noted()
	wantCode(t, pass(time.Hour, time.Minute), events.Conflict, "the clock was set by 59m0s")
	wantCode(t, pass(time.Minute, time.Minute), events.Conflict, "the clock was set by 59m0s")
	if noted() != before {
		t.Errorf("noted %s", noted())
	}
	ok(t, pass(-58*time.Minute, time.Minute)) // set right again
	if noted() == before {
		t.Error("not noted")
	}
	wantCode(t, pass(time.Hour, time.Minute), events.Conflict)
	must(d.AcceptClock(t.Context(), operator))(t)
	ok(t, pass(time.Minute, time.Minute))
	if noted() != events.FormatTime(d.clock.now()) {
		t.Errorf("noted %s", noted())
	}
	t.Run("also in a program that is started after the clock was accepted", func(t *testing.T) {
		ok(t, d.Close())
		d.Outbox = open(t, d.path, outbox.Config{Clock: d.clock.now, Elapsed: func() time.Duration { return steady }})
		wantCode(t, pass(time.Hour, time.Minute), events.Conflict, "the clock was set by 59m0s")
	})
}
