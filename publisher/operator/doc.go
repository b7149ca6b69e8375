// Package operator makes and keeps the accounts of NATS servers that run in
// operator mode: SYS, AUTH and APP of the service, and one for each partner.
//
// An account is a JWT that the operator's signing key has signed. The servers
// have those of the service from their configuration, which does not change
// with partners; those of partners are pushed to the running servers, and the
// servers store them. Everything that is signed is a pure function of keys,
// data and one number, the time at which it is issued, so that what a server
// stores can be compared with what it should store.
//
// The package does not run a server and does not decide who a partner is or
// what is granted to it.
package operator
