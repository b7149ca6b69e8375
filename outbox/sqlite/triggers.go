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
// database has not, or has in another form, and of the triggers that others have added to
// the tables of the migrations; both sorted. A trigger that keeps a table from change is of
// no use once it is dropped, and nothing else shows that it was. A trigger that was added may
// pass over the lines of an action, so that they leave no gap.
//
// What the triggers have to be is found by running the migrations in memory.
func (db *DB) ChangedTriggers(ctx context.Context, migrations fs.FS) (changed, added []string, err error) {
	expected, tables, err := expectedTriggers(ctx, migrations)
	if err != nil {
		return nil, nil, err
	}
	found, err := triggers(ctx, db.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("read triggers: %w", db.Explain(err))
	}
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if found[name] != expected[name] {
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, ok := expected[name]; !ok && slices.Contains(tables, found[name].table) {
			added = append(added, name)
		}
	}
	return changed, added, nil
}

// trigger is a trigger as the database stores it.
type trigger struct {
	table     string // in lower case
	statement string
}

// expectedTriggers returns the triggers and the tables that the migrations make.
func expectedTriggers(ctx context.Context, migrations fs.FS) (expected map[string]trigger, tables []string, err error) {
	sys := &system{writer: pool("", url.Values{"mode": {"memory"}, "_txlock": {"immediate"}}, 1)}
	memory := database.New(sys.writer, sys.writer, sys)
	defer func() { err = errors.Join(err, memory.Close()) }()
	if err := memory.Migrate(ctx, migrations); err != nil {
		return nil, nil, err
	}
	if err := memory.Reader.SelectContext(ctx, &tables, `select lower(name) from sqlite_master where type = 'table'`); err != nil {
		return nil, nil, fmt.Errorf("read tables: %w", err)
	}
	expected, err = triggers(ctx, memory.Reader)
	return expected, tables, err
}

// triggers returns the triggers by name.
func triggers(ctx context.Context, q *sqlx.DB) (map[string]trigger, error) {
	all := make(map[string]trigger)
	err := database.Each(ctx, q, func(row database.Row) error {
		var name, table, statement string
		err := row.Scan(&name, &table, &statement)
		all[name] = trigger{strings.ToLower(table), strings.TrimSpace(statement)}
		return err
	}, `select name, tbl_name, sql from sqlite_master where type = 'trigger'`)
	return all, err
}
