package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sys/unix"

	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// Config configures a database. The zero Config is the safe one.
type Config struct {
	Synchronous string // "FULL" or "NORMAL"; NORMAL may lose the last commits with the power. Defaults to FULL.
	Readers     int    // connections for reading. Defaults to 4.

	// MapFile has the readers map the file into memory, up to SQLite's limit of 2 GiB,
	// instead of copying its pages into caches of their own. That is faster and needs less
	// memory. But an error of the disk ends the program then, so it is only for a file whose
	// content can be made again.
	MapFile bool

	// PageSize is the size in bytes of the pages of a file that is created: a power of two.
	// An existing file keeps its own. Rows that fit into a page are read without a copy of
	// their parts. But a commit writes whole pages. Defaults to 4096.
	PageSize int
}

// DB is an open database file. The Writer has one connection, and its
// transactions take the write lock when they begin.
type DB struct {
	*database.DB
	path string
}

// system is SQLite as a database.System.
type system struct {
	path           string
	writer, reader *sqlx.DB

	mu      sync.Mutex
	version *sql.Conn // of Version, because the number is the connection's own
}

const defaultPageSize = 4096 // SQLite's own

const busyTimeout = 5 * time.Second // that a connection waits for the lock of another

// The log is normally moved into the database by Maintain, when nobody writes. Where that
// does not run, or cannot keep up, the writer does it itself once the log has about this
// many bytes.
const autoCheckpoint = 64 << 20

// Open opens the database file at path and creates it, readable by its owner
// only, where there is none. The folder must exist. The error may wrap
// os.ErrNotExist, os.ErrPermission, database.ErrNotADatabase,
// ErrReadOnly and ErrBusy.
func Open(ctx context.Context, path string, cfg Config) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	synchronous := cmp.Or(cfg.Synchronous, "FULL")
	if synchronous != "FULL" && synchronous != "NORMAL" {
		return nil, fmt.Errorf("open database: synchronous %q is neither FULL nor NORMAL", synchronous)
	}
	options := url.Values{
		"mode":             {"rw"}, // SQLite would make the file readable by others
		"_busy_timeout":    {strconv.FormatInt(busyTimeout.Milliseconds(), 10)},
		"_foreign_keys":    {"on"},
		"_synchronous":     {synchronous},
		"_stmt_cache_size": {"128"},
		"_cache_size":      {"-32768"}, // KiB
	}
	options.Set("_txlock", "immediate")
	pageSize := cmp.Or(cfg.PageSize, defaultPageSize)
	sys := &system{path: path, writer: pool(path, options, 1,
		fmt.Sprintf("pragma page_size = %d", pageSize), // before the journal mode, which is written to the file
		"pragma journal_mode = wal",
		fmt.Sprintf("pragma wal_autocheckpoint = %d", autoCheckpoint/pageSize))}
	if err := connect(ctx, sys.writer); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), sys.Close())
	}

	options.Del("_txlock")
	options.Set("mode", "ro")
	var pragmas []string
	if cfg.MapFile {
		options.Set("_cache_size", "-2048") // for pages that are still in the log
		// As much of the file as SQLite maps, which is 2 GiB unless it was compiled with
		// another SQLITE_MAX_MMAP_SIZE. What lies behind that is read with system calls.
		pragmas = append(pragmas, "pragma mmap_size = 70368744177664")
	}
	sys.reader = pool(path, options, cmp.Or(cfg.Readers, 4)+1, pragmas...) // one is Version's
	if err := sys.reader.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s for reading: %w", path, explain(err)), sys.Close())
	}
	return &DB{DB: database.New(sys.writer, sys.reader, sys), path: path}, nil
}

// connect opens the connection of the writer, which gives a new file its log. SQLite does
// not wait for the lock that this needs while somebody else has it, as when two programs make
// the database at once, because a connection that reads already could wait for ever. So
// connect tries again, as long as SQLite waits for other locks.
func connect(ctx context.Context, writer *sqlx.DB) (err error) {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	ended := retry.Poll(ctx, func() (bool, error) {
		err = explain(writer.PingContext(ctx))
		return !errors.Is(err, database.ErrBusy), nil
	})
	return cmp.Or(err, ended)
}

// creating is locked while create looks for a file and makes it.
var creating sync.Mutex

// create makes the file if it is missing, so that it never exists with wider
// permissions, and returns an error unless it can be read and written.
//
// It does not open an existing file. SQLite's locks on a file belong to the
// process, and the system releases all of them when the process closes any
// descriptor of that file. Without these locks the next program that closes the
// database would delete the log as if it were the last user, and lose all that is
// committed to it later. For the same reason nothing else in this process may
// open the file before the descriptor that made it is closed.
func create(path string) error {
	creating.Lock()
	defer creating.Unlock()
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return explainFile(path, err)
		}
		return f.Close()
	case err != nil:
		return explainFile(path, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("open database: %s is not a file", path)
	}
	if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
		return explainFile(path, &os.PathError{Op: "open", Path: path, Err: err})
	}
	return nil
}

// explainFile wraps the error of a file that can be neither made nor written.
func explainFile(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("open database: the folder %s does not exist: %w", filepath.Dir(path), err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS):
		return fmt.Errorf("open database: %w: %w", database.ErrReadOnly, err)
	default:
		return fmt.Errorf("open database: %w", err)
	}
}

// Owns reports whether path is one of the database's own files. As long as this
// process has the database open, only SQLite may open them; see create.
func (db *DB) Owns(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if own, err := os.Stat(db.path + suffix); err == nil && os.SameFile(info, own) {
			return true
		}
	}
	return false
}

// Path returns the absolute path of the database file.
func (db *DB) Path() string { return db.path }

// Begin implements database.System. The transaction holds the write lock.
func (s *system) Begin(ctx context.Context) (*sqlx.Tx, error) { return s.writer.BeginTxx(ctx, nil) }

// Restart implements database.System.
func (s *system) Restart(tx *sqlx.Tx) error {
	if _, err := tx.Exec("rollback; begin immediate"); err != nil {
		return fmt.Errorf("begin transaction again: %w", explain(err))
	}
	return nil
}

// MaxShared implements database.System.
func (s *system) MaxShared() int { return 256 }

// JSONRows implements database.System.
func (s *system) JSONRows(columns ...string) string {
	values := make([]string, len(columns))
	for i, c := range columns {
		values[i] = fmt.Sprintf("value ->> %d as %s", i, c)
	}
	return "(select " + strings.Join(values, ", ") + " from json_each(?))"
}

// Explain implements database.System.
func (s *system) Explain(err error) error { return explain(err) }

// Version implements database.System.
func (s *system) Version(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version == nil {
		c, err := s.reader.Conn(ctx)
		if err != nil {
			return 0, fmt.Errorf("read data version: %w", explain(err))
		}
		s.version = c
	}
	var v int64
	if err := s.version.QueryRowContext(ctx, "pragma data_version").Scan(&v); err != nil {
		return 0, fmt.Errorf("read data version: %w", explain(err))
	}
	return v, nil
}

// Close implements database.System.
func (s *system) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.version != nil {
		errs = append(errs, s.version.Close())
		s.version = nil
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	// The writer closes last: it moves the log into the database.
	return errors.Join(append(errs, s.writer.Close())...)
}
