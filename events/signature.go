package events

import "time"

// Signature is what a signed record must show of its signing (21 CFR 11.50): the
// signer, the time, and what the signature means.
type Signature struct {
	User    string    `json:"user"`    // the PI's user name, never reused
	Name    string    `json:"name"`    // the printed name at the time of signing
	Meaning string    `json:"meaning"` // such as "I have reviewed and approve this assessment"
	Time    time.Time `json:"time"`    // UTC, to the microsecond
}

// ValidMeaning returns an error unless text may be the meaning of a signature.
func ValidMeaning(text string) error { return requiredText("meaning", text) }

// ValidReason returns an error unless text may be the reason of a withdrawal, or of a
// signature over what contradicts RECIST 1.1.
func ValidReason(text string) error { return requiredText("reason", text) }

// ValidUser reports whether name may be the user name of a PI.
func ValidUser(name string) bool { return userForm.MatchString(name) }

// ValidPrintedName returns an error unless name may be the printed name of a PI.
func ValidPrintedName(name string) error { return requiredText("name", name) }
