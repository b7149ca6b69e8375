// Package natsd runs the embedded NATS server that holds the stream.
//
// What it acknowledges is on disk: file storage with an fsync before each
// acknowledgement. No connection is open without a login, also within the
// process; the keys that sign the users of roles are made at each start, and this
// package writes them nowhere. Only one role may publish events.
//
// A server or cluster that runs elsewhere can stand in its place: the package
// writes the part of its configuration that is a server's own, and connects to it.
//
// It does not lock its directory (two servers on one directory both
// acknowledge and destroy each other's data: the caller holds a lock), and it
// does not read or write the stream. Accounts and users are described and kept in
// package operator.
package natsd
