// Package tenancy describes, as data, what a partner has on the NATS server: its
// account, with imports, mapping and limits; its consumers; and what a connection
// that it opens may do.
//
// A study key is the form of a study number that is safe in a subject. A partner has
// one consumer for each study granted to it, and an access consumer, which delivers the
// announcements of what it is granted. A live subject is one on which a partner may
// receive events without a consumer.
//
// It is the only description. Package natsd translates it into the form that a
// server gets, package callout into the answer to a login, and package partners
// makes the consumers. An account and the permissions of a login each let through
// exactly what the partner is granted. So each protects even if the other is wrong.
//
// The package does no I/O and decides nothing about who is granted what.
package tenancy
