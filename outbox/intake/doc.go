// Package intake reads assessments from what source systems deliver as JSON or
// NDJSON: records in the JSON form of events.Assessment, FHIR DiagnosticReports,
// and FHIR Bundles. Package sdtm below it reads CDISC SDTM.
//
// A record is one assessment in a file. A refusal says why a record is not read, and
// names file, line and field. Nothing of a refused record is emitted; the good
// records of the same file are. A file is read as a stream, and memory stays bounded
// whatever the file holds: a record may have 1 MiB, a Bundle 64 MiB.
//
// The package registers nothing and signs nothing.
package intake
