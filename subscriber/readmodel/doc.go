// Package readmodel keeps in one SQLite file what the log of sign-off events
// says: the reports of each study, in all their versions, and who may see
// them. It answers searches and reads from it.
//
// What it guarantees: the effect of each event is stored exactly once, in
// order, together with the position in the stream, in one transaction; an
// answer reflects a state between two events of its study; the bytes of a
// report are those of its event. When the stream is not the one that was read
// before, or an event does not follow, the model turns red and keeps what it
// has; nothing is skipped. It goes on by itself once stream and model agree
// again, for example after Rebuild.
//
// Content is replaced as a whole, by Rebuild or, where a program with another
// derivation opens the file, by Run. It is made in a file beside the old one,
// from the first event on, and takes its place in one transaction. It never ends
// before the old one, and is never made from the beginning of a stream that is
// being filled again: what is revoked and withdrawn comes late in the log.
//
// The file may lose its last transactions with the power, because the stream
// still has them. The model does not decide who may ask: it folds the
// directory, and the caller consults it.
package readmodel
