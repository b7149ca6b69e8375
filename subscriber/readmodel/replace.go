package readmodel

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
)

// errBehind says that the model advanced while it was being rebuilt.
var errBehind = errors.New("the model in use is ahead of the rebuilt one")

// tables are all that a model consists of.
var tables = [...]string{"position", "studies", "reports", "bodies", "access"}

// replace puts the content of the database file beside in place of the
// model's own, in one transaction, unless that would take it back in the same
// stream.
func (m *Model) replace(ctx context.Context, beside string) (err error) {
	// The writer is one connection: what is attached here is there in Update.
	if _, err := m.db.Writer.ExecContext(ctx, "attach database ? as fresh", beside); err != nil {
		return fmt.Errorf("attach %s: %w", beside, err)
	}
	defer func() {
		_, detached := m.db.Writer.ExecContext(context.WithoutCancel(ctx), "detach database fresh")
		err = errors.Join(err, detached)
	}()
	if err := m.db.Update(ctx, replaceTables); err != nil {
		return err
	}
	_, err = m.load(ctx)
	return err
}

func replaceTables(tx *sqlx.Tx) error {
	var behind bool
	if err := tx.Get(&behind, `
		select exists (
			select 1
			from main.position old
			join fresh.position new on new.created = old.created
			where old.sequence > new.sequence)`); err != nil {
		return fmt.Errorf("compare positions: %w", err)
	}
	if behind {
		return errBehind
	}
	for _, table := range tables {
		if _, err := tx.Exec("delete from main." + table); err != nil {
			return fmt.Errorf("empty %s: %w", table, err)
		}
		if _, err := tx.Exec("insert into main." + table + " select * from fresh." + table); err != nil {
			return fmt.Errorf("fill %s: %w", table, err)
		}
	}
	return nil
}

// check compares what the tables say of each other, and has SQLite check the
// file. Each event has its number in one study, so the numbers add up to the
// position.
func (m *Model) check(ctx context.Context) error {
	for _, c := range []struct{ what, query string }{
		{"SQLite finds the file damaged", "select quick_check <> 'ok' from pragma_quick_check limit 1"},
		{"the studies' events do not add up to the position", `
			select (select coalesce(sum(sequence), 0) from studies) <> (select sequence from position)`},
		{"the studies' counts are not those of their reports", `
			select exists (
				select 1
				from studies s
				where s.reports <> (select count(*) from reports r where r.study = s.study and r.n_end is null))`},
		{"a report is without its body", `
			select exists (select 1 from reports where row not in (select row from bodies))
				or exists (select 1 from bodies where row not in (select row from reports))`},
	} {
		var wrong bool
		if err := m.db.Reader.GetContext(ctx, &wrong, c.query); err != nil {
			return fmt.Errorf("check: %w", err)
		}
		if wrong {
			return events.Errorf(events.Internal, "the rebuilt model is wrong: %s", c.what)
		}
	}
	return nil
}
