package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// ChangedTriggers returns the names of the triggers of the migrations that the
// database has not, or has in another form, sorted. A trigger that keeps a table
// from change is of no use once it is dropped, and nothing else shows that it was.
//
// What the triggers have to be is found by running the migrations in memory.
func (db *DB) ChangedTriggers(ctx context.Context, migrations fs.FS) ([]string, error) {
	expected, err := expectedTriggers(ctx, migrations)
	if err != nil {
		return nil, err
	}
	found, err := triggers(ctx, db.Reader)
	if err != nil {
		return nil, fmt.Errorf("read triggers: %w", db.Explain(err))
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if found[name] != expected[name] {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

func expectedTriggers(ctx context.Context, migrations fs.FS) (expected map[string]string, err error) {
	sys := &system{writer: pool("", url.Values{"mode": {"memory"}, "_txlock": {"immediate"}}, 1)}
	memory := database.New(sys.writer, sys.writer, sys)
	defer func() { err = errors.Join(err, memory.Close()) }()
	if err := memory.Migrate(ctx, migrations); err != nil {
		return nil, err
	}
	return triggers(ctx, memory.Reader)
}

// triggers returns the statement of each trigger by its name.
func triggers(ctx context.Context, q *sqlx.DB) (map[string]string, error) {
	all := make(map[string]string)
	err := database.Each(ctx, q, func(row database.Row) error {
		var name, table, statement string
		err := row.Scan(&name, &table, &statement)
		all[name] = table + " " + strings.TrimSpace(statement)
		return err
	}, `select name, tbl_name, sql from sqlite_master where type = 'trigger'`)
	return all, err
}
