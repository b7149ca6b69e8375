// Package fhir writes a signed assessment as the FHIR JSON that partners
// receive, and reads it back.
//
// A report is a signed assessment as a DiagnosticReport. Each of its lesions is an
// Observation, to which the report refers. The event that carries a report supplies
// its version, which is the event's number within the study, and its time.
//
// The package guarantees that the same report is always encoded as the same bytes:
// the order of names and extensions is fixed, a number is written in the digits in
// which it was signed, text is not escaped beyond what JSON requires, and nothing
// depends on a clock, a map or an installation. So a report is encoded once and the
// bytes are hashed, stored and served unchanged.
//
// The package does no I/O and knows no HTTP. It is no general FHIR library: it
// reads and writes the resources of this program and refuses all others. The
// version is FHIR 4.1.0. Package strictjson below it reads the JSON.
package fhir
