package sqlite

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	checkpointEvery = 100 * time.Millisecond
	busyTicks       = 20 // checkpoint even while others write, after so many ticks
)

// Maintain implements database.System: it moves the write-ahead log into the
// database whenever there was no commit for a tenth of a second, or at the latest
// every two seconds. It uses a connection of its own, because in a writer's commit
// a checkpoint would take tens of milliseconds.
func (s *system) Maintain(ctx context.Context) error {
	own := pool(s.path, url.Values{"mode": {"rw"}, "_busy_timeout": {"0"}, "_synchronous": {"FULL"}}, 1)
	defer func() { _ = own.Close() }() // it has no transaction to lose
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	var seen, done int64
	for busy := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var version int64
		if err := own.QueryRowContext(ctx, "pragma data_version").Scan(&version); err != nil {
			return ignoreEnd(ctx, fmt.Errorf("watch for commits: %w", explain(err)))
		}
		quiet := version == seen
		seen = version
		if busy++; version == done || !quiet && busy < busyTicks {
			continue
		}
		whole, err := checkpoint(ctx, own)
		if err != nil {
			return ignoreEnd(ctx, fmt.Errorf("checkpoint: %w", explain(err)))
		}
		if busy = 0; whole {
			done = version
		}
	}
}

// checkpoint moves as much of the log as it can without making others wait, and
// reports whether that was all of it.
func checkpoint(ctx context.Context, db *sqlx.DB) (whole bool, err error) {
	var busy, pages, moved int
	err = db.QueryRowContext(ctx, "pragma wal_checkpoint(passive)").Scan(&busy, &pages, &moved)
	return busy == 0 && pages == moved, err
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
