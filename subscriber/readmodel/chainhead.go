package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// ChainHead returns the end of a study's chain as applied, by this process or
// another; the zero ChainHead for a study without events. The study is named by
// its token.
func (m *Model) ChainHead(ctx context.Context, study string) (l events.ChainHead, err error) {
	err = m.db.Reader.QueryRowContext(ctx, `
		select sequence, hash
		from studies
		where token = ?`, study).Scan(&l.Number, &l.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return l, fmt.Errorf("look up study: %w", err)
	}
	return l, nil
}
