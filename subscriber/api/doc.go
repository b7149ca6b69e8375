// Package api is the read API: the search of a study's available reports and
// the read of one, as FHIR search and read define them and as partners of the
// API already use them.
//
// Every answer is a function of the study, the number of its last event and
// the query; the resources in it are the bytes that were signed, unchanged.
// Who may see what is looked up anew for each request, so that a revoked
// grant is refused from the moment the read model knows of it.
//
// It writes nothing, keeps no sessions, and issues no tokens.
package api
