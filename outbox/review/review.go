// Package review reads what PIs see before and after they sign: the versions that wait,
// whole cases, and what was done with each version.
package review

import (
	"context"
	"database/sql"

	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Reviews reads the cases of one outbox. Its methods may be called concurrently.
type Reviews struct {
	ledger   *ledger.Ledger
	contents *stored.Contents
}

// New returns the cases of the outbox with the ledger l. Contents decodes versions of
// cases.
func New(l *ledger.Ledger, contents *stored.Contents) *Reviews { return &Reviews{l, contents} }

// atOneMoment calls fn with a transaction that sees the database as it is at one moment,
// whatever is committed meanwhile.
func (r *Reviews) atOneMoment(ctx context.Context, fn func(database.Querier) error) error {
	tx, err := r.ledger.DB.Reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(tx)
}
