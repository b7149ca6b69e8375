// Package token is the OAuth 2.0 token endpoint for partners (RFC 6749, grant
// client_credentials) and the set of public keys that verify its access tokens
// (RFC 7517).
//
// An access token is the signed JWT (RFC 7519) with which a partner calls the API. A
// partner proves its identity with its client credentials, an id and a secret. A
// place is the part of a sender's address by which failures are counted.
//
// The package guarantees that an access token is issued only for credentials that
// Clients accepts, and that no answer or log line contains a secret. Clients decides
// who the clients are and how often one of them may fail. The endpoint itself counts,
// in memory, the wrong secrets from a place, and answers 429 after too many.
package token
