// Package tenancy describes, as data, what a partner has on the NATS server: its
// account, with imports, mapping and limits; its consumers; and what a connection
// that it opens may do.
//
// It is the only description. Package natsd translates it into the form that a
// server gets, package callout into the answer to a login, and package partners
// makes the consumers. An account and the permissions of a login each let through
// exactly what the partner is granted, so that either holds without the other.
//
// The package does no I/O and decides nothing about who is granted what.
package tenancy
