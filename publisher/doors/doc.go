// Package doors lets partners subscribe to their studies, and to nothing else.
//
// From the directory of partners and grants, as the log has it, it keeps for
// each partner an account on the broker, one durable consumer for each granted
// study and one for the announcements of access, and it answers the logins of
// all who are not of the service: with an access token, or with client id and
// secret.
//
// It guarantees that nobody gets in, and nothing gets out, but on a grant that
// is in force: what it does not know, cannot check or has not finished is
// refused. A withdrawal is done within a second, in this order: logins refuse
// it, its consumer is deleted, the account lets it through no more,
// connections that had it are closed. Consumers of what stays are left alone,
// so nothing of it is lost or repeated.
//
// It does not decide who may see what, does not look into events, and does not
// write the stream.
package doors
