// Package fhir turns a signed assessment into the FHIR JSON that partners get,
// and reads it back.
//
// It guarantees bytes: the order of keys and extensions is fixed, a number is
// written in the digits in which it was signed, text stands as it is (no HTML
// escapes), and nothing depends on a clock, a map or an installation. So one
// encoding can be hashed, stored and served again without being rebuilt.
//
// It does no I/O, knows no HTTP, and is no general FHIR library: it reads and
// writes the resources of this program and refuses all others. The version is
// FHIR 4.1.0.
package fhir
