// Package callout answers the logins of partners to NATS, with an access token or
// with client id and secret, and keeps partners to their quotas.
//
// It guarantees that nobody gets in without a grant that is in force: a login that it
// does not know, cannot check or may not allow yet is refused, or stays unanswered, which
// the server takes for a refusal. A connection that a login would not open now as it is
// gets closed.
//
// A Callout opens the studies that package partners has prepared. A Standalone answers on
// another machine, by the directory alone, so that partners get in while that service is
// away. An Enforcer measures what partners send and ask for, and suspends those that
// exceed their quota.
//
// The package does not decide who is granted what and does not read events.
package callout
