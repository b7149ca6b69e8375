package outbox_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/sqlite"
)

// raw opens the outbox's file past the outbox.
func raw(t *testing.T, path string) *sqlite.DB {
	t.Helper()
	db := must(sqlite.Open(t.Context(), path, sqlite.Config{}))(t)
	t.Cleanup(func() { ok(t, db.Close()) })
	return db
}

func TestRecordsAreProtected(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1))
	d.sign("1")
	must(d.withdrawAs("dr.a", "1", "reason"))(t)
	d.register(assessment("1", 1, 1, 2))
	d.sign("1")
	d.record(1)
	d.register(assessment("2", 2, 1, 1))
	must(d.Return(t.Context(), outbox.Return{User: "dr.a", ID: "2", Reason: "reason"}))(t)
	db := raw(t, d.path).Writer
	count := func(table string) (n int) {
		t.Helper()
		ok(t, db.Get(&n, "select count(*) from "+table))
		return n
	}
	refuse := func(t *testing.T, statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := db.Exec(statement); err == nil {
				t.Errorf("%s was accepted", statement)
			}
		}
	}
	for table, change := range map[string]string{
		"audit":       "actor = 'nobody'",
		"events":      "data = x'00'",
		"versions":    "content = '{}'",
		"signatures":  "user = 'nobody'",
		"withdrawals": "reason = 'none'",
		"returns":     "reason = 'none'",
		"ordinals":    "ordinal = 7",
		"settings":    "value = '/elsewhere'",
	} {
		t.Run(table+" from update, delete and replacement", func(t *testing.T) {
			before := count(table)
			if before == 0 {
				t.Fatal("nothing to protect")
			}
			refuse(t,
				"update "+table+" set "+change,
				"update or replace "+table+" set "+change,
				"delete from "+table,
				"insert or replace into "+table+" select * from "+table+" limit 1",
			)
			if after := count(table); after != before {
				t.Errorf("%d rows of %d are left", after, before)
			}
		})
	}
	t.Run("an event's number from being taken over", func(t *testing.T) {
		_, err := db.Exec(`
			insert or replace into events (study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data)
			select study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, x'00'
			from events
			limit 1`)
		if err == nil || count("events") != 3 {
			t.Error(err)
		}
	})
	t.Run("user names from being freed, and chains from going back", func(t *testing.T) {
		refuse(t,
			"delete from people", "update people set user = 'free'", "insert or replace into people select * from people",
			"insert or replace into people (user, name, password) values ('dr.a', 'Somebody Else', '')",
			"delete from studies", "update studies set sequence = sequence - 1", "insert or replace into studies select * from studies",
			"insert or replace into studies (study, token) values ('FHIR-T', 'new')", "insert or replace into studies (study, token) values ('new', 'FHIR-T')",
			"update or replace studies set row = row + 1",
		)
	})
	t.Run("a disabled PI from being let in again", func(t *testing.T) {
		ok(t, d.Accounts().DisablePI(t.Context(), operator, "dr.a"))
		refuse(t, "update people set disabled = ''", "update people set disabled = '2030-01-01T00:00:00.000000Z'")
		must(d.Accounts().ResetPassword(t.Context(), operator, "dr.a"))(t)
	})
	t.Run("the audit trail from lines without a number or a hash", func(t *testing.T) {
		refuse(t,
			`insert into audit (time, actor, action, study, subject, detail, hash) select time, actor, action, study, subject, detail, hash from audit limit 1`,
			`insert into audit (row, time, actor, action, study, subject, detail) select (select max(row) + 1 from audit), time, actor, action, study, subject, detail from audit limit 1`,
		)
	})
	t.Run("the audit trail from lines out of order", func(t *testing.T) {
		const line = `insert into audit (row, time, actor, action, study, subject, detail, hash) select %s, time, actor, action, study, subject, detail, hash from audit limit 1`
		for _, number := range []string{"-1", "0", "1", "(select max(row) + 2 from audit)", "9223372036854775807"} {
			refuse(t, fmt.Sprintf(line, number))
		}
		_, err := db.Exec(fmt.Sprintf(line, "(select max(row) + 1 from audit)"))
		ok(t, err)
	})
}

func TestTheSchemaNumbersEventsInCommitOrder(t *testing.T) {
	d := newOutbox(t)
	d.register(assessment("1", 1, 1, 1))
	d.sign("1")
	db := raw(t, d.path).Writer
	const event = `
		insert into events (row, study, sequence, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data)
		select %s, study, sequence + 1000, kind, id, subject, time, partitionkey, previoushash, hash, traceparent, data
		from events
		limit 1`
	for _, row := range []string{"-1", "0", "1", "(select max(row) + 2 from events)", "9223372036854775807"} {
		if _, err := db.Exec(fmt.Sprintf(event, row)); err == nil {
			t.Errorf("row %s was accepted", row)
		}
	}
	_, err := db.Exec(fmt.Sprintf(event, "(select max(row) + 1 from events)"))
	ok(t, err)
}

func TestOpen(t *testing.T) {
	path := func(t *testing.T) string { return filepath.Join(t.TempDir(), "outbox.db") }
	t.Run("keeps the namespace of the first time", func(t *testing.T) {
		p := path(t)
		mine := events.Namespace{Origin: "https://crit.example/signoff", TypePrefix: "org.example."}
		if o := open(t, p, outbox.Config{Namespace: mine}); o.Namespace() != mine {
			t.Errorf("%+v", o.Namespace())
		}
		if o := open(t, p, outbox.Config{}); o.Namespace() != mine {
			t.Errorf("%+v", o.Namespace())
		}
		for _, other := range []events.Namespace{{Origin: "/signoff"}, {TypePrefix: "org.other."}} {
			_, err := outbox.Open(t.Context(), p, outbox.Config{Namespace: other})
			wantCode(t, err, events.Conflict, "cannot change")
		}
	})
	t.Run("refuses a namespace that no event could bear, and keeps none", func(t *testing.T) {
		p := path(t)
		_, err := outbox.Open(t.Context(), p, outbox.Config{Namespace: events.Namespace{Origin: "with space"}})
		wantCode(t, err, events.Invalid)
		open(t, p, outbox.Config{Namespace: events.DefaultNamespace})
	})
	t.Run("refuses an outbox of a newer version", func(t *testing.T) {
		p := path(t)
		open(t, p, outbox.Config{})
		_, err := raw(t, p).Writer.Exec(`insert into migrations (name, sha256, applied) values ('999.sql', '', '')`)
		ok(t, err)
		if _, err := outbox.Open(t.Context(), p, outbox.Config{}); !errors.Is(err, database.ErrNewer) || !strings.Contains(err.Error(), "newer version") {
			t.Error(err)
		}
	})
	t.Run("says that the folder is missing", func(t *testing.T) {
		if _, err := outbox.Open(t.Context(), filepath.Join(path(t), "none"), outbox.Config{}); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("finds everything again", func(t *testing.T) {
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1))
		first := d.sign("1")
		again := openAgain(t, d)
		if got := again.sign("1"); got[0] != first[0] {
			t.Errorf("%+v", got)
		}
	})
	t.Run("calls a closed outbox unavailable", func(t *testing.T) {
		o := must(outbox.Open(t.Context(), path(t), outbox.Config{}))(t)
		ok(t, o.Close())
		_, err := o.SignOff(t.Context(), outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"1"}})
		wantCode(t, err, events.Unavailable)
		if errors.Is(err, sql.ErrConnDone) {
			t.Error(err)
		}
	})
}
