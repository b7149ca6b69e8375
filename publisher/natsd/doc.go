// Package natsd runs the embedded NATS server that holds the stream.
//
// What it acknowledges is on disk: file storage with an fsync before each
// acknowledgement. No connection is open without a password, also within the
// process; the passwords of roles are created at the start, and this package
// writes them nowhere. Only one role may publish events.
//
// A server or cluster that runs elsewhere can stand in its place: the package
// describes its configuration, the same that the embedded one has, and connects
// to it. There accounts change only by a reload of that configuration: what it
// lets through beyond what is granted, logins do not permit; what it lacks is
// reported.
//
// It does not lock its directory (two servers on one directory both
// acknowledge and destroy each other's data: the caller holds a lock), and it
// does not read or write the stream. What a partner's account contains is described
// in package tenancy; here it is translated into the form that a server gets.
package natsd
