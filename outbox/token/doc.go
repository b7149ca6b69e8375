// Package token is the OAuth 2.0 token endpoint for partners (RFC 6749, grant
// client_credentials) and the set of public keys that its tokens can be
// checked with (RFC 7517).
//
// It guarantees that a token is issued only for credentials that Clients
// accepts, and that no answer or log line holds a secret. It keeps nothing:
// who the clients are and how often they may fail is up to Clients.
package token
