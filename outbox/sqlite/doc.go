// Package sqlite opens SQLite files as a database.DB: one writer connection, a
// pool of read-only ones, and a write-ahead log.
//
// With the default configuration a transaction that was committed without an
// error is on disk. Several processes may have the same database open, and one
// process several times; a writer waits up to five seconds for another one.
// Nothing else in the process may open the file: see DB.Owns.
//
// Statements are kept prepared on each connection, by their text. One that
// compares a column with a parameter and reads more than one table is prepared
// again at each execution all the same, because SQLite hopes for a better plan
// (exprCompareVariable); that costs ten times what the execution does. So is one
// with a parameter as its limit. Written as an expression, "= +?" and "limit +?" in
// place of "= ?" and "limit ?", the parameter stays out of the plan.
//
// The package does not depend on what is stored, and it is the only one that
// imports a SQLite driver.
package sqlite
