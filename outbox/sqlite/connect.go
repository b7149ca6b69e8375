package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// connector makes connections with options that reach each of them; a pragma
// executed on a pool would reach one.
type connector struct {
	dsn    string
	driver *sqlite3.SQLiteDriver
}

// pool returns a pool of connections that have executed the pragmas.
func pool(path string, options url.Values, size int, pragmas ...string) *sqlx.DB {
	// A path may hold characters that mean something in a URI.
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode()
	db := sql.OpenDB(connector{dsn: dsn, driver: &sqlite3.SQLiteDriver{ConnectHook: prepareConnection(pragmas)}})
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return sqlx.NewDb(db, "sqlite3")
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

func (c connector) Driver() driver.Driver { return c.driver }

// prepareConnection returns a function that executes the pragmas on a new connection, after
// those that all connections have.
func prepareConnection(pragmas []string) func(c *sqlite3.SQLiteConn) error {
	pragmas = append([]string{
		"pragma journal_size_limit = 67108864",
		"pragma temp_store = memory", // savepoints keep what they may undo in memory
		"pragma trusted_schema = off",
	}, pragmas...)
	return func(c *sqlite3.SQLiteConn) error {
		for _, pragma := range pragmas {
			if _, err := c.Exec(pragma, nil); err != nil {
				return err
			}
		}
		return nil
	}
}
