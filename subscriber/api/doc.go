// Package api is the read API: it searches the available reports and Observations
// of a study, reads one of them, and returns the study's history, as FHIR defines
// search, read and history.
//
// Every answer depends only on the study, the number of its last event and the
// query. Links to further pages name a study number too. They show the study as it was
// at that number, so that the pages do not change while a client reads one after the
// other. A result whose report is no longer available is left out. In history, links
// never expire. The resources in an answer are the bytes that were signed, unchanged.
// Access is checked for each request by the directory, which need not wait for the read
// model to learn of a revocation. A study that has an event which was not signed is
// answered 503; see Config.Signed.
//
// The head of a study is its chain head and the derivation of the read model; the same
// head means the same content. A view is the part of a resource that _elements or
// _summary ask for.
//
// If the stream has an event of a kind that only a newer version knows, calls
// about the event's study are answered 503; if it is an access event, all calls
// are. Other studies are not affected.
//
// The ETag of a search covers everything on which its answer depends. Pages that
// were requested before are served from memory by their ETag, after the same
// checks as others, and 304 needs no file either.
//
// Searches of a partner that read the model are limited in number and in time, so that one
// partner does not slow the others; those beyond are answered 429 or 503.
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
// as missing. An empty part of a list is refused. Of what FHIR offers beside these,
// modifiers and chained parameters are refused; _has, _filter and the like are unknown
// parameters.
//
// The value of researchstudy is first taken literally, because links and
// references write the study id so. Only if no such study is granted is it
// read like other values, with \, for a comma.
//
// Links write equal searches in one way, whatever the order, case and escapes of
// the query.
package api
