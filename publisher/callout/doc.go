// Package callout answers the logins of partners to NATS, with an access token or
// with client id and secret, and keeps partners to their quotas.
//
// A callout is a process that the NATS servers ask about each login; several may run, and one
// of them answers. A study is admitted for a partner once its logins may open it. The quota
// of a partner is how many messages it may send and ask for. A partner that exceeds it is
// suspended for some seconds: its connections are closed and its logins refused.
//
// It guarantees that nobody gets in without a grant that is in force: a login that it
// does not know, cannot check or may not allow yet is refused, or stays unanswered, and
// then the server refuses it. A connection is closed if a login would not open it now in the
// same way.
//
// A Callout opens the studies that package partners has prepared. A Standalone answers on
// another machine, by the directory alone, so that partners get in while the service with
// the Callout is away. An Enforcer measures what partners send and ask for, and suspends
// those that exceed their quota.
//
// The package does not decide who is granted what and does not read events.
package callout
