// Package natsd runs the embedded NATS server that holds the stream.
//
// What that acknowledges is on disk: file storage with an fsync before each
// acknowledgement. Nobody connects without a password, in the same process
// neither; passwords are made at start and written nowhere by this package.
// Only one role may publish events.
//
// A server or cluster that runs elsewhere can stand in its place: the package
// describes its configuration, the same that the embedded one has, and reaches
// it. There accounts change by a reload of that configuration only; what it
// lets through too much logins do not allow, what it lacks is said.
//
// It does not lock its directory (two servers on one directory both
// acknowledge and destroy each other's data: the caller holds a lock), and it
// knows nothing of what the stream holds.
package natsd
