// Package token is the OAuth 2.0 token endpoint for partners (RFC 6749, grant
// client_credentials) and the set of public keys that verify its access tokens
// (RFC 7517).
//
// It guarantees that an access token is issued only for credentials that Clients
// accepts, and that no answer or log line contains a secret. Who the clients are
// and how often one of them may fail is up to Clients; the endpoint itself
// slows wrong secrets from an address that tries many of them, in memory.
package token
