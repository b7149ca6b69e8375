// Package operator makes and keeps the accounts of NATS servers that run in
// operator mode: SYS, AUTH, APP and READ of the service, and one for each partner.
//
// An account is a JWT that the operator's signing key has signed. The accounts of
// the service are part of the servers' configuration, which does not change with
// partners: this part is the preload. The accounts of partners are pushed to the
// running servers, which store them. Everything that is signed is a pure function
// of keys, data and one number, the time of issue. So what a server stores can be
// compared with what it should store.
//
// A role is a part of the service, or a person, that connects to the servers. Each
// role has a key of its own, which signs the JWTs of its users; the role's account
// lists the public half of that key with the permissions that the users have.
//
// The sentinel is the user for whom a server takes a client that shows no user JWT
// of NATS, as partners do. It may do nothing: the server asks the callout about each such login,
// and the answer admits the client to its partner's account or refuses it.
//
// The package does not run a server and does not decide who a partner is or
// what is granted to it.
package operator
