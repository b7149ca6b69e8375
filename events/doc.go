// Package events defines what the other packages exchange: assessments, the events
// that announce their sign-offs, and the rules by which anyone who has the events
// of a study can prove that none is missing, repeated or altered.
//
// It does no I/O. Every value that it accepts can be written to the wire and read
// back unchanged.
//
// A study id is the name of a study as source systems write it; a study key is the form
// of it that is safe in subjects. The events of a study are numbered from 1, and each
// carries the hash of the one before it: that is the chain. A clinical study has reports.
// An internal study has the events that administer access (AccessStudy) or announce it to
// one partner (PartnerStudy).
//
// "The contract", in comments, is the description of the read API and of the reports that
// was agreed with partners.
//
// # Types of events
//
// FromHeader and Event.Validate require that an event's type is well-formed. They
// do not require that its kind is known, so that a program that is older than the
// publisher can go on reading and check number and chain of every event. What it
// does with a kind that it does not know is up to the program; Kind.NeedsNewer
// reports whether it must not ignore the event.
//
// A well-formed type is
//
//	{prefix}{noun}.{verb}.v{number}
//	{prefix}{noun}.{verb}.optional.v{number}
//
// The prefix is that of a Namespace: one or more words of a to z, 0 to 9 and
// hyphens, each followed by a dot. Noun and verb have the same characters,
// start with a letter and have at most 64. The number is decimal, from 1 on,
// without leading zeros and with at most nine digits. The kind is the type
// without its prefix, that is, its last three words, or four where the one
// before the version is "optional"; so "optional" is no verb.
//
// The noun decides which studies may have events of the kind. Those of "access"
// belong to the internal studies (AccessStudy and each PartnerStudy), those of all
// other nouns to clinical studies. Study and type determine the following, whether
// or not the kind is known:
//
//   - the NATS subject: crit.internal.access in AccessStudy,
//     crit.partner.{id}.access in a PartnerStudy, and else
//     crit.v1.{study key}.{noun}.{verb}, where the noun diagnosticreport is
//     written DiagnosticReport and observations Observation, and all others as
//     they stand in the type. Neither the version nor "optional" is in it;
//   - the media type that a publisher writes: application/json for "access",
//     else application/fhir+json. A reader accepts any.
//
// The CloudEvents subject of an unknown kind may be any text that an attribute may
// have. It has no meaning to this version.
//
// A program that does not know an optional kind may act as if the event did not
// exist. A kind that is neither optional nor known may mean anything, such as that
// a report must not be shown or that a partner must not be let in. So the read
// model answers nothing from a clinical study that has such an event, and nobody
// can log in once an internal study has one, until a newer version reads the log.
package events
