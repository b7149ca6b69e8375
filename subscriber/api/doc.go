// Package api is the read API: the search of a study's available reports and
// the read of one, as FHIR search and read define them and as partners of the
// API already use them.
//
// Every answer is a function of the study, the number of its last event and
// the query; the resources in it are the bytes that were signed, unchanged.
// Who may see what is looked up anew for each request, so that a revoked
// grant is refused from the moment the read model knows of it.
//
// Where the log has an event that only a newer version knows, the answer is 503:
// to every call about its study, and to every call at all if it is an access
// event. Another study is answered from as always.
//
// It writes nothing, keeps no sessions, and issues no tokens.
//
// # Queries
//
// Names of parameters match without regard to case. A filter with several
// values between commas wants any of them, a repeated filter all of them. What
// can have one value only (researchstudy, page, _count, _sort, _format,
// _summary, _total, x-partnerid) may be repeated with the same value; a
// different one is refused. Repetitions of _elements add up. An empty value is
// refused, because a filter that is passed over answers more than was asked for;
// an empty researchstudy is a missing one.
//
// The value of researchstudy is the study number as it stands, which is how
// links and references write it; only when no such study is granted it is read
// as other values are, with \, for a comma.
//
// Links spell the same search in one way, whatever the order, the case and
// the escapes in which it came.
package api
