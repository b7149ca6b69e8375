// Package outbox is the write side: it registers assessments, takes sign-offs
// and withdrawals, keeps the audit trail, and holds every event until, and
// after, the publisher has put it on the stream. People, partners and keys are
// its Accounts.
//
// What belongs together happens in one transaction or not at all: the state of
// the assessment, the signature, the audit row, the study's number and the
// event. An answer without an error means that it is on disk. Events of a
// study are numbered without gaps, their times strictly increase, and each
// carries the hash of the one before. What was signed, published or audited is
// never changed or deleted; the database itself refuses it.
//
// It does not publish, and it does not check who calls it: SignOff and
// Withdraw believe the user name they are given, so ask
// Accounts.Authenticate first.
package outbox
