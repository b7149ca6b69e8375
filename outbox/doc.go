// Package outbox is the write side: it registers assessments, signs them off and
// withdraws them, writes the audit trail, and stores every event, also after the
// publisher has published it. PIs, partners and keys are in its Accounts.
//
// A sign-off is one transaction: the state of the assessment, the signature, the
// line in the audit trail, the study number and the event are stored together or
// not at all. When a method returns without an error, they are on disk. Events of
// a study are numbered without gaps, their times strictly increase, and each has
// the hash of the one before. What was signed, published or audited is never
// changed or deleted; the database itself refuses it.
//
// The package does not publish, and it does not authenticate: SignOff and
// Withdraw take a user name that the caller has authenticated, for instance by
// Accounts.Authenticate.
package outbox
