// Package intake turns what source systems hand over into assessments: FHIR
// Bundles and DiagnosticReports, JSON and NDJSON, and the CDISC SDTM tumour
// domains TU, TR and RS.
//
// Every refusal names file, line and field. Nothing of a refused record is
// handed on, the good records of the same file are. Input is read as a stream
// and memory stays bounded whatever it holds: a record is limited to 1 MiB, a
// Bundle to 64 MiB, the SDTM records of one evaluator to 256 MiB.
//
// The package registers nothing and signs nothing; it reads the files it is
// given, and of SDTM what is known already.
package intake
