// Package rest is what the HTTP faces of the program have in common: refusals
// as OperationOutcomes, request ids, the access log, content negotiation, and
// a server with limits.
//
// It guarantees that whatever goes wrong is answered with an OperationOutcome
// that holds no internal text, and is logged once, with its cause and without
// credentials. It knows no resource and no route.
package rest
