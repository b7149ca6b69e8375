package database

import (
	"context"
	"database/sql"
)

// Querier is a transaction or a pool of connections.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Row is one row of a result: an *sql.Row, or the present row of Each and List.
type Row interface{ Scan(columns ...any) error }

// Each calls fn with each row that a query returns, in order, until fn returns
// an error. Fn must not keep the row.
//
// Rows are read in one way: one row by QueryRow and Scan, several by Each or
// List. A function that scans a type is written once and serves all three.
func Each(ctx context.Context, q Querier, fn func(Row) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// List returns what scan reads from each row that a query returns, in order; it
// is never nil without an error.
func List[T any](ctx context.Context, q Querier, scan func(Row) (T, error), query string, args ...any) ([]T, error) {
	list := []T{}
	err := Each(ctx, q, func(row Row) error {
		value, err := scan(row)
		list = append(list, value)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Value scans a row of one column.
func Value[T any](row Row) (value T, err error) {
	err = row.Scan(&value)
	return value, err
}
