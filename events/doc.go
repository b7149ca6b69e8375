// Package events is the language of the program: assessments and their
// sign-offs, the events that announce them, and the rules by which anyone who
// holds events of a study can prove that none is missing, repeated or altered.
//
// It does no I/O. Every value it accepts can be written to the wire and read
// back unchanged.
//
// # Types of events
//
// Whether a type is well-formed and whether its kind is known are two
// questions. FromHeader and Event.Validate ask the first only: number and chain
// are checked for every event, and a program that is older than the publisher
// goes on reading. What it does with a kind that it does not know is up to it;
// Kind.NeedsNewer is the question.
//
// A well-formed type is
//
//	{prefix}{noun}.{verb}.v{number}
//	{prefix}{noun}.{verb}.optional.v{number}
//
// The prefix is that of a Namespace: one or more words of a to z, 0 to 9 and
// hyphens, each with a dot behind it. Noun and verb have the same characters,
// start with a letter and have at most 64. The number is decimal, from 1 on,
// without leading zeros and with at most nine digits. The kind is the type
// without its prefix, that is, its last three words, or four where the one
// before the version is "optional"; so "optional" is no verb.
//
// The noun says which studies may hold events of the kind: "access" the
// internal ones (AccessStudy and each PartnerStudy), every other noun those of
// real studies. From the study and the type follow, whether or not the kind is
// known:
//
//   - the NATS subject: crit.internal.access in AccessStudy,
//     crit.partner.{id}.access in a PartnerStudy, and else
//     crit.v1.{study token}.{noun}.{verb}, where the noun diagnosticreport is
//     written DiagnosticReport and observations Observation, and all others as
//     they stand in the type. Neither the version nor "optional" is in it;
//   - the media type that a publisher writes: application/json for "access",
//     else application/fhir+json. A reader takes any.
//
// The CloudEvents subject of an unknown kind is any text that an attribute may
// have; nothing is read from it.
//
// Optional says: who does not know this kind may act as if the event were not
// there. A kind that is not optional and not known may mean anything, such as
// that a report must not be shown or a partner not be let in. So the read model
// answers nothing from a real study that has such an event, and nobody logs in
// once an internal study has one, until a newer version reads the log.
package events
