package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// States returns what a query finds of a column in which values are stored as
// JSON. The querier is a pool of connections or a transaction.
func States[T any](ctx context.Context, q sqlx.QueryerContext, query string, args ...any) ([]T, error) {
	var texts [][]byte
	if err := sqlx.SelectContext(ctx, q, &texts, query, args...); err != nil {
		return nil, fmt.Errorf("read access state: %w", err)
	}
	states := make([]T, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal(text, &states[i]); err != nil {
			return nil, fmt.Errorf("read access state: %w", err)
		}
	}
	return states, nil
}
