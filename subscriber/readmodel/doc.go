// Package readmodel stores in one SQLite file what follows from the events of the stream:
// the reports and Observations of each study, in all their versions, the events
// themselves, and who may read them. Search, History, Report and Observations read
// from it.
//
// The derivation is the way in which a version of the program makes the content from
// events. A filling is one such making of the whole content; a random number
// identifies it. A study is outdated if it has an event of a kind that only a newer
// version knows; nothing is answered from it.
//
// A version is valid for the study numbers from that of its event up to that of the
// event that ended it, and is never deleted. So a study can be shown as it was at
// each of its numbers.
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
// beginning of a stream that is being filled again. Otherwise it could lack
// revocations and withdrawals, which may come late in the stream.
//
// Searches map the file into memory, so that the operating system's memory is their
// cache. If the disk fails to read a mapped page, the program ends.
//
// A power failure may undo the last transactions of the file; the events are still
// in the stream. The model does not decide who may read: it stores the
// directory, and the caller consults it.
package readmodel
