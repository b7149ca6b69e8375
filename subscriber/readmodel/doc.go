// Package readmodel stores in one SQLite file what follows from the events of the stream:
// the reports of each study, in all their versions, and who may read them. Search
// and Report read from it.
//
// The effect of each event is stored exactly once, in order, together with the
// position in the stream, in one transaction. An answer reflects one state between
// two events of its study. The bytes of a report are those of its event. When the
// stream is not the one that was read before, or an event does not follow, its
// State becomes Red and it keeps its content; no event is skipped. It continues by
// itself once stream and model agree again, for example after Rebuild.
//
// Content is replaced as a whole, by Rebuild or, if a program with another
// derivation opens the file, by Run. The new content is written to a file beside
// the old one, from the first event on, and replaces the old content in one
// transaction. It never ends before the old content, and is never made from the
// beginning of a stream that is being filled again, because revocations and
// withdrawals may come late in the stream.
//
// A power failure may undo the last transactions of the file; the events are still
// in the stream. The model does not decide who may read: it stores the
// directory, and the caller consults it.
package readmodel
