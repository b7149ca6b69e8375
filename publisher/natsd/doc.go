// Package natsd runs the embedded NATS server that holds the stream.
//
// What the server acknowledges is on disk: file storage with an fsync before each
// acknowledgement. Every connection logs in, also within the process. A role is a part
// of the service, or a person, that connects; its key signs the JWTs with which its
// users log in. The embedded server's keys of roles are made at each start, and
// this package never writes them to disk. Only one role may publish events.
//
// An outside server or cluster is one that runs elsewhere, in place of the embedded
// one. The package connects to it, and writes the part of its configuration that
// differs between its servers (Node). The part that is the same for all of them is the
// preload: the operator and the accounts of the service, which package operator makes.
//
// The package does not lock the data directory. Two servers on one directory both
// acknowledge and destroy each other's data, so the caller must hold a lock. It does
// not read or write the stream.
package natsd
