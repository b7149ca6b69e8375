package readmodel

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// applier is the Handler of the model's stream.Reader.
type applier struct {
	*Model
	progress progress
}

// Resume reads the progress from the file, because another process may have replaced
// it.
func (a *applier) Resume(ctx context.Context) (stream.Progress, error) {
	p, err := a.load(ctx)
	if err != nil {
		return stream.Progress{}, err
	}
	a.progress = p
	heads := make(map[string]events.ChainHead, len(p.studies))
	for key, s := range p.studies {
		heads[key] = events.ChainHead{Number: s.Number, Hash: s.Hash}
	}
	return stream.Progress{Position: p.position, ChainHeads: heads}, nil
}

// Apply stores the effect of a batch and its position in one transaction, and
// then makes both visible.
func (a *applier) Apply(ctx context.Context, b stream.Batch) error {
	start := a.cfg.Clock()
	changes, err := newChanges(b, a.progress)
	if err != nil {
		return err
	}
	a.publishing.Lock()
	defer a.publishing.Unlock()
	a.cfg.Step("write")
	if err := a.db.Update(ctx, func(tx *sqlx.Tx) error {
		if err := sameFilling(tx, a.progress.filling); err != nil {
			return err
		}
		if err := changes.write(tx); err != nil {
			return err
		}
		a.cfg.Step("commit")
		return nil
	}); err != nil {
		return err
	}
	a.cfg.Step("publish")
	a.warnOutdated(changes.studies)
	maps.Copy(a.progress.studies, changes.studies)
	a.progress.position, a.progress.directory = b.Position, changes.directory
	a.heads.update(changes.studies)
	a.setLast(b.Position.StreamSequence + b.Pending)
	a.setState(Green, nil)
	a.metrics.applied(b, start, a.cfg.Clock())
	a.publish(b.Position, changes.directory) // last: whoever has waited for the position sees the rest
	return nil
}

// warnOutdated logs the studies that have become outdated. It must be called before
// a.progress has the changes.
func (a *applier) warnOutdated(changed map[string]study) {
	for key, s := range changed {
		if s.Unknown != "" && a.progress.studies[key].Unknown == "" {
			a.cfg.Log.Warn("an event is of a type that this version does not know; run a newer version of signoff", "study", key, "type", s.Unknown)
		}
	}
}

// move changes the stored position from one to another. If the stored position is not
// from, because another process or a rebuild has changed it, move changes nothing and
// returns stream.ErrMoved.
func move(tx *sqlx.Tx, from, to stream.Position) error {
	result, err := tx.Exec(`
		update position
		set created = ?, sequence = ?, id = ?, hash = ?
		where sequence = ? and id = ? and hash = ? and (sequence = 0 or created = ?)`,
		to.Created.UTC().Format(time.RFC3339Nano), to.StreamSequence, to.ID, to.Hash,
		from.StreamSequence, from.ID, from.Hash, from.Created.UTC().Format(time.RFC3339Nano))
	if err != nil {
		return fmt.Errorf("move position: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("move position from %d: %w", from.StreamSequence, stream.ErrMoved)
	}
	return nil
}
