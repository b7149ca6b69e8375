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
	begin := func(t *testing.T, d *desk) *sqlx.Tx {
		t.Helper()
		return must(d.DB().Writer.BeginTxx(t.Context(), nil))(t)
	}
	request := outbox.SignOff{User: "dr.a", Meaning: meaning, IDs: []string{"3", "1", "2"}}
	prepare := func(t *testing.T) *desk {
		t.Helper()
		d := newDesk(t)
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
	t.Run("takes the write lock at once, so that nothing is decided by what has changed since", func(t *testing.T) {
		d := prepare(t)
		host, err := sqlx.Open("sqlite3", "file:"+d.path) // its transactions take no lock when they begin
		if err != nil {
			t.Fatal(err)
		}
		defer func() { ok(t, host.Close()) }()
		tx := must(host.BeginTxx(t.Context(), nil))(t)
		defer tx.Rollback()
		var n int
		ok(t, tx.Get(&n, `select count(*) from events`))
		d.sign("1") // by another writer, after the host has read
		_, err = d.SignOffTx(t.Context(), tx, request)
		wantCode(t, err, events.Unavailable)
		ok(t, tx.Rollback())

		tx = must(host.BeginTxx(t.Context(), nil))(t)
		defer tx.Rollback()
		must(d.SignOffTx(t.Context(), tx, request))(t)
		ok(t, tx.Commit())
		wantEvents(t, d, "signed 1/1", "signed 2/2", "signed 3/3")
	})
	t.Run("refuses as SignOff does", func(t *testing.T) {
		d := prepare(t)
		tx := begin(t, d)
		defer tx.Rollback()
		_, err := d.SignOffTx(t.Context(), tx, outbox.SignOff{User: "dr.x", Meaning: meaning, IDs: []string{"1"}})
		wantCode(t, err, events.Forbidden)
	})
}
