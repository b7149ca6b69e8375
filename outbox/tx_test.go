package outbox_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

func TestSignOffTx(t *testing.T) {
	begin := func(t *testing.T, d *testOutbox) *sqlx.Tx {
		t.Helper()
		return must(d.DB().Writer.BeginTxx(t.Context(), nil))(t)
	}
	request := outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"3", "1", "2"}}
	prepare := func(t *testing.T) *testOutbox {
		t.Helper()
		d := newOutbox(t)
		d.register(assessment("1", 1, 1, 1), assessment("2", 1, 1, 1), assessment("3", 2, 1, 1))
		return d
	}
	t.Run("leaves nothing when the host rolls back", func(t *testing.T) {
		d := prepare(t)
		tx := begin(t, d)
		must(d.SignOffTx(t.Context(), tx, request))(t)
		ok(t, tx.Rollback())
		if got := d.published(); len(got) != 0 {
			t.Error(got)
		}
		d.sign("1")
		wantEvents(t, d, "signed 1/1")
	})
	t.Run("signs several cases, and more than once, in one transaction", func(t *testing.T) {
		d := prepare(t)
		tx := begin(t, d)
		must(d.SignOffTx(t.Context(), tx, request))(t)
		must(d.SignOffTx(t.Context(), tx, request))(t)
		ok(t, tx.Commit())
		wantEvents(t, d, "signed 1/1", "signed 2/2", "signed 3/3")
	})
	t.Run("signs nothing after its context has ended", func(t *testing.T) {
		d := prepare(t)
		tx := begin(t, d)
		defer tx.Rollback()
		gone := errors.New("the caller is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if signed, err := d.SignOffTx(ctx, tx, request); !errors.Is(err, gone) && !errors.Is(err, context.Canceled) || len(signed) != 0 {
			t.Errorf("signed %v, %v", signed, err)
		}
	})
	t.Run("takes the write lock at once, also where it has nothing to write", func(t *testing.T) {
		d := prepare(t)
		must(d.SignOff(t.Context(), request))(t)
		open := func(options string) *sqlx.DB {
			db := must(sqlx.Open("sqlite3", "file:"+d.path+options))(t)
			t.Cleanup(func() { ok(t, db.Close()) })
			return db
		}
		tx := must(open("").BeginTxx(t.Context(), nil))(t) // no lock is taken when it begins
		defer tx.Rollback()
		must(d.SignOffTx(t.Context(), tx, request))(t) // the first answers again
		writer := open("?_txlock=immediate&_busy_timeout=1")
		if other, err := writer.BeginTxx(t.Context(), nil); err == nil {
			t.Error("another writer began beside it")
			ok(t, other.Rollback())
		}
		ok(t, tx.Rollback())
		ok(t, must(writer.BeginTxx(t.Context(), nil))(t).Rollback())
	})
	t.Run("says that the database is busy where another writer was faster", func(t *testing.T) {
		d := prepare(t)
		host := must(sqlx.Open("sqlite3", "file:"+d.path))(t)
		defer func() { ok(t, host.Close()) }()
		tx := must(host.BeginTxx(t.Context(), nil))(t)
		defer tx.Rollback()
		var n int
		ok(t, tx.Get(&n, `select count(*) from events`))
		d.sign("1") // after the host has read
		_, err := d.SignOffTx(t.Context(), tx, request)
		wantCode(t, err, events.Unavailable)
	})
	t.Run("refuses as SignOff does", func(t *testing.T) {
		d := prepare(t)
		tx := begin(t, d)
		defer tx.Rollback()
		_, err := d.SignOffTx(t.Context(), tx, outbox.SignOff{User: "dr.x", Meaning: meaning, IDs: []string{"1"}})
		wantCode(t, err, events.Forbidden)
	})
}
