// Package rest has what the program's HTTP handlers share: errors as
// OperationOutcomes, request ids, the access log, content negotiation, and a
// server with limits.
//
// It guarantees that an error is answered with an OperationOutcome without
// internal text, and that it is logged once, with its cause and without
// credentials. That includes requests of HTTP/1.1 that net/http refuses before a
// handler is called; HTTP/2 refuses headers that are too large by itself. The package knows no resource and no route.
package rest
