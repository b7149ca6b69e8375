// Package events is the language of the program: assessments and their
// sign-offs, the events that announce them, and the rules by which anyone who
// holds events of a study can prove that none is missing, repeated or altered.
//
// It does no I/O. Every value it accepts can be written to the wire and read
// back unchanged.
package events
