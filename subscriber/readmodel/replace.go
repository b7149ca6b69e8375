package readmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// maxLocked bounds the time for which a rebuild keeps the write lock while it
// applies the last events.
const maxLocked = 10 * time.Second

// replace replaces the model's content by that of a fresh model, in one
// transaction. If the model has applied more events of the same stream, fresh applies
// them first, within the transaction, so that the model cannot advance again.
// It returns a Conflict, and changes nothing, if fresh ends before the model or before
// the last event that the outbox has published.
func (m *Model) replace(ctx context.Context, fresh *Model, js jetstream.JetStream) error {
	attached := false
	err := m.db.Update(ctx, func(tx *sqlx.Tx) error {
		current, err := readPosition(tx)
		if err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		if p := fresh.Position(); current.Created.Equal(p.Created) && current.StreamSequence > p.StreamSequence {
			ctx, cancel := context.WithTimeout(ctx, maxLocked)
			defer cancel()
			if err := fresh.fill(ctx, js, nil, nil); err != nil {
				return err
			}
		}
		if err := fresh.checkEnd(current); err != nil {
			return err
		}
		if _, err := tx.Exec("attach database ? as fresh", fresh.db.Path()); err != nil {
			return fmt.Errorf("attach %s: %w", fresh.db.Path(), err)
		}
		attached = true
		if err := checkFresh(tx, fresh.Position()); err != nil {
			return err
		}
		return copyTables(tx)
	})
	if attached { // to the writer's only connection
		_, detached := m.db.Writer.ExecContext(context.WithoutCancel(ctx), "detach database fresh")
		err = errors.Join(err, detached)
	}
	if err != nil {
		return err
	}
	_, err = m.load(ctx)
	return err
}

// checkFresh returns an error if the attached file is not the one that was filled,
// but that of another rebuild that has begun meanwhile.
func checkFresh(tx *sqlx.Tx, want stream.Position) error {
	var got stream.Position
	err := tx.QueryRow(`
		select sequence, id, hash
		from fresh.position`).Scan(&got.StreamSequence, &got.ID, &got.Hash)
	if err != nil {
		return fmt.Errorf("read rebuilt position: %w", err)
	}
	got.Created = want.Created
	if !got.Same(want) {
		return events.Errorf(events.Conflict, "another rebuild of the read model is running; wait until it has ended")
	}
	return nil
}

// checkEnd returns a Conflict if a fresh model ends before the current position of the
// one that it is to replace, even in another stream, or before the last event that the
// outbox has published. It could lack revocations and withdrawals, and access that had
// ended would be open again.
func (m *Model) checkEnd(current stream.Position) error {
	const refused = "; content derived from the stream would lack later revocations and withdrawals, so nothing was changed; " +
		"let signoff serve fill the stream again from the outbox.db that has all events, and try again"
	end, recorded := m.Position().StreamSequence, m.cfg.Recorded.StreamSequence
	switch {
	case end < current.StreamSequence:
		return events.Errorf(events.Conflict, "the present read model ends with event %d, the stream with event %d"+refused, current.StreamSequence, end)
	case end < recorded:
		return events.Errorf(events.Conflict, "the outbox has published events up to %d, the stream ends with event %d"+refused, recorded, end)
	}
	return nil
}

// copyTables copies the whole content. Both files have the same tables, because the
// same program opened them.
func copyTables(tx *sqlx.Tx) error {
	tables, err := database.List(context.Background(), tx, database.Value[string], `
		select name
		from fresh.sqlite_master
		where type = 'table' and name <> 'migrations' and name not like 'sqlite~_%' escape '~'`)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
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

// check verifies that the tables agree with each other, and has SQLite check the
// file. Each event has a number in one study, so the studies' last numbers add up to
// the position.
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
		{"the studies' counts are not those of their Observations", `
			select exists (
				select 1
				from studies s
				where s.observations <> (select coalesce(sum(r.observations), 0) from reports r where r.study = s.study and r.n_end is null))`},
		{"a study's events are not all there", `
			select exists (
				select 1
				from studies s
				where substr(s.token, 1, 1) <> '_' and s.sequence <> (select count(*) from events e where e.study = s.study))`},
		{"a report is without its body", `
			select exists (select 1 from reports where row not in (select row from bodies))
				or exists (select 1 from bodies where row not in (select row from reports))`},
	} {
		var wrong bool
		if err := m.db.Reader.QueryRowContext(ctx, c.query).Scan(&wrong); err != nil {
			return fmt.Errorf("check: %w", err)
		}
		if wrong {
			return events.Errorf(events.Internal, "the rebuilt model is wrong, and was not used: %s", c.what)
		}
	}
	return nil
}
