// Package api is the read API: it searches the available reports of a study and
// reads one report, as FHIR search and read define it.
//
// Every answer is a function of the study, the number of its last event and the
// query. The resources in it are the bytes that were signed, unchanged. Access is
// checked for each request, so that a revoked grant is refused as soon as the
// read model has applied the revocation.
//
// If the stream has an event of a kind that only a newer version knows, calls
// about the event's study are answered 503; if it is an access event, all calls
// are. Other studies are not affected.
//
// The ETag of a search covers everything on which its answer depends. Pages that
// were requested before are served from memory by their ETag, after the same
// checks as others, and 304 needs no file either.
//
// The CapabilityStatement, openapi.yaml and the page for people are made from the
// tables that read requests, or are checked against them and the running API.
//
// The API writes nothing, keeps no sessions and issues no access tokens.
//
// # Queries
//
// Names of parameters match without regard to case. A filter with several values,
// separated by commas, matches any of them; a repeated filter must match each
// time. A parameter that has one value (researchstudy, page, _count, _sort,
// _format, _summary, _total, x-partnerid) may be repeated with the same value; a
// different value is refused. Repetitions of _elements are combined. A parameter
// with an empty value is ignored, as FHIR requires; an empty researchstudy counts
// as missing. An empty part of a list is refused.
//
// The value of researchstudy is first taken literally, because links and
// references write the study id so. Only if no such study is granted is it
// read like other values, with \, for a comma.
//
// Links write equal searches in one way, whatever the order, case and escapes of
// the query.
package api
