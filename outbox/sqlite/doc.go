// Package sqlite opens SQLite databases the way every store of the program
// wants them: one writer connection, a pool of read-only ones, write-ahead
// log, forward-only migrations, and commits that many callers share.
//
// With the default configuration a transaction that was committed without an
// error is on disk. Several processes may hold the same database open; a
// writer waits up to five seconds for another one.
//
// It knows nothing of what is stored, and it is the only package that knows
// which SQLite driver is used.
package sqlite
