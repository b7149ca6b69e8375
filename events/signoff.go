package events

import "time"

// Signature is what a signed record must show of its signing
// (21 CFR 11.50): who, when, and what the signature means.
type Signature struct {
	User    string    `json:"user"`    // the PI's user name, never reused
	Name    string    `json:"name"`    // the printed name at the moment of signing
	Meaning string    `json:"meaning"` // such as "I have reviewed and approve this assessment"
	Time    time.Time `json:"time"`    // UTC, to the microsecond
}

// ValidMeaning says what is wrong with the meaning of a signature.
func ValidMeaning(meaning string) error { return requiredText("meaning", meaning) }

// ValidReason says what is wrong with the reason of a withdrawal.
func ValidReason(reason string) error { return requiredText("reason", reason) }

// ValidUser reports whether name may name a PI.
func ValidUser(name string) bool { return userForm.MatchString(name) }

// ValidPrintedName says what is wrong with a person's printed name.
func ValidPrintedName(name string) error { return requiredText("name", name) }
