package readmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// derivation is the version of the way in which this program derives the model's
// content from events. It must be increased with each change of what is stored for
// events that are applied already: a new table or column that is filled from them,
// unless its default is right for them, or another meaning of an old one. Migrations change the schema only. A model whose
// content has another number, higher or lower, is derived again from the stream, in
// an empty file with these migrations.
const derivation = 2

// beginFilling stores this derivation and a new random filling number in a model
// without content. It changes nothing in a model that has content or this derivation.
func beginFilling(tx *sqlx.Tx) error {
	_, err := tx.Exec(`
		update derivation
		set number = ?, filling = random()
		where number <> ? and (select sequence from position) = 0`, derivation, derivation)
	if err != nil {
		return fmt.Errorf("store the derivation: %w", err)
	}
	return nil
}

// readDerivation returns the number of the derivation that has made the content, and
// the random number of its filling.
func readDerivation(tx *sqlx.Tx) (number int, filling int64, err error) {
	err = tx.QueryRow(`
		select number, filling
		from derivation`).Scan(&number, &filling)
	return number, filling, err
}

// checkDerivation returns an Unavailable error if another derivation has made the
// content, which may have neither events nor Observations then.
func (v view) checkDerivation() error {
	if v.derivation != derivation {
		return &events.Error{
			Code: events.Unavailable, Message: "The content is being derived again by this version; ask again later.", RetryAfter: 10 * time.Second,
		}
	}
	return nil
}

// checkDerivation is view.checkDerivation for a query without a view.
func checkDerivation(tx *sqlx.Tx) error {
	number, _, err := readDerivation(tx)
	if err != nil {
		return err
	}
	return view{derivation: number}.checkDerivation()
}

// sameFilling returns stream.ErrMoved if the content was replaced since the filling
// number was read. The position does not show that, because the new content may end with
// the same event. But row numbers that are kept in memory may be of other rows now.
func sameFilling(tx *sqlx.Tx, read int64) error {
	_, filling, err := readDerivation(tx)
	if err != nil {
		return fmt.Errorf("read the derivation: %w", err)
	}
	if filling != read {
		return fmt.Errorf("the content was replaced: %w", stream.ErrMoved)
	}
	return nil
}

// setDerivation sets in the status whether the content needs to be replaced, because the
// derivation with this number has made it.
func (m *Model) setDerivation(number int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status.Refill.Needed = number != derivation; !m.status.Refill.Needed {
		m.status.Refill = Refill{}
	}
}

// rederive replaces the content if another derivation has made it. It tries
// again until that is done or ctx ends, and from the first event on each time. At its
// end it removes the file beside the model, also one that a killed program has left.
func (m *Model) rederive(ctx context.Context, js jetstream.JetStream) {
	beside := m.db.Path() + ".refill"
	loop := retry.Loop{Longest: m.cfg.Interval, Failed: func(err error) {
		m.cfg.Log.Warn("cannot derive the read model again; the old content is served until that succeeds", "cause", err)
		m.setRefill(func(r *Refill) { r.Reason = err.Error() })
	}}
	_ = loop.Run(ctx, func(ctx context.Context, _ func()) error { // no error stops it
		if !m.Status().Refill.Needed {
			return nil
		}
		m.cfg.Log.Info("deriving the read model again in a file beside it, because its content is of another version of signoff")
		if err := m.refill(ctx, js, beside); err != nil {
			return err
		}
		m.cfg.Log.Info("the read model was derived again", "position", m.Position().StreamSequence)
		return nil
	})
	if err := remove(beside); err != nil { // left by a killed program
		m.cfg.Log.Warn("cannot remove the file in which the read model was derived again", "cause", err)
	}
}

// refill fills a fresh model in a file beside this one and takes over its content. This
// model continues to follow the stream meanwhile. So the fresh one must reach the
// position of this one, and the last event that the outbox has published, before it
// replaces the content.
func (m *Model) refill(ctx context.Context, js jetstream.JetStream, beside string) (err error) {
	if err := m.checkStream(ctx, js); err != nil {
		return err
	}
	cfg := m.cfg
	cfg.Step = nil // it is for the batches of this model
	fresh, err := openBeside(ctx, beside, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.Close(), remove(beside)) }()
	progress := func(done, total uint64) {
		m.setRefill(func(r *Refill) { r.Done, r.Total, r.Reason = done, total, "" })
		m.cfg.Step("refill")
	}
	least := func() uint64 { return max(m.Position().StreamSequence, m.cfg.Recorded.StreamSequence) }
	if err := fresh.fill(ctx, js, progress, least); err != nil {
		return err
	}
	if err := fresh.check(ctx); err != nil {
		return err
	}
	m.cfg.Step("swap")
	return m.replace(ctx, fresh, js)
}

// checkStream returns an error if the stream is not the one from which the present
// content was read. Only Rebuild, which an operator starts, uses another one.
func (m *Model) checkStream(ctx context.Context, js jetstream.JetStream) error {
	current, err := js.Stream(ctx, m.cfg.Stream)
	if err != nil {
		return fmt.Errorf("get stream %s: %w", m.cfg.Stream, err)
	}
	if p := m.Position(); p.StreamSequence > 0 && !p.Created.Equal(current.CachedInfo().Created) {
		return fmt.Errorf("%w; to use it all the same, run signoff rebuild", stream.ErrReplaced)
	}
	return nil
}

// setRefill changes the progress in the status, unless the content was replaced.
func (m *Model) setRefill(change func(*Refill)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status.Refill.Needed {
		change(&m.status.Refill)
	}
}

// Outdated returns the studies, by study key, that have an event of a kind that only a
// newer version knows, with the type of the first one. The event may have withdrawn a
// report, so Search and Report return no data of the study. Internal studies are not
// among them; see access.Directory for those.
func (m *Model) Outdated(ctx context.Context) (map[string]string, error) {
	types := make(map[string]string)
	err := database.Each(ctx, m.db.Reader, func(row database.Row) error {
		var key, unknown string
		err := row.Scan(&key, &unknown)
		if !events.InternalStudy(key) {
			types[key] = unknown
		}
		return err
	}, `
		select token, unknown
		from studies
		where unknown <> ''`)
	if err != nil {
		return nil, fmt.Errorf("read outdated studies: %w", err)
	}
	return types, nil
}

// outdated returns the error for a study that has an event of the unknown type.
func outdated(study, unknown string) error {
	return events.Errorf(events.Outdated, "study %s has an event of type %s, which this version does not know; run a newer version of signoff", study, unknown)
}
