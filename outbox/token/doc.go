// Package token is the OAuth 2.0 token endpoint for partners (RFC 6749, grant
// client_credentials) and the set of public keys that its tokens can be
// checked with (RFC 7517).
//
// It guarantees that a token is issued only for credentials that Clients
// accepts, and that no answer or log line holds a secret. Who the clients are
// and how often one of them may fail is up to Clients; the endpoint itself
// slows an address that tries many of them, in memory.
package token
