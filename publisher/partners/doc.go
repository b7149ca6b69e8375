// Package partners keeps the accounts, consumers and receipts of partners in step with
// the directory of partners and grants, as the log has it.
//
// Each partner has an account on the NATS servers, a durable consumer for its access and
// one for each study granted to it. A Reconciler compares these with the directory when it
// changes and every few seconds, and changes what differs. One such comparison is a round.
// A receipt is the stream sequences up to which a partner has received and acknowledged the
// events of a consumer. A server is behind while it may store other accounts than it should.
//
// It guarantees that a withdrawal is done within a second, in this order: logins refuse
// the study, its consumer is deleted, the account lets it through no more, connections
// that had it are closed. Other consumers are not touched, so none of their events is lost
// or repeated. A consumer that the servers lost is created again and starts after the last
// event that the partner has acknowledged.
//
// The package does not decide who is granted what, does not read events and does not
// write the stream. Logins are answered by package callout.
package partners
