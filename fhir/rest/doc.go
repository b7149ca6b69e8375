// Package rest has what the program's HTTP handlers share: errors as
// OperationOutcomes, request ids, the access log, content negotiation, and a
// server with limits.
//
// The head of a request is its request line and headers. An exchange is what the
// access log records of one request. The cause of an error is the error that an
// events.Error wraps; it is logged and never part of an answer.
//
// The package guarantees that an error is answered with an OperationOutcome without
// internal text, and that it is logged once, with its cause and without credentials.
// That includes HTTP/1.1 requests that net/http refuses before a handler is called.
// It does not include HTTP/2 requests whose headers have more than twice the limit, which
// no client sends that respects the server's SETTINGS_MAX_HEADER_LIST_SIZE. The package
// knows no resource and no route.
package rest
