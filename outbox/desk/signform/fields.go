package signform

import (
	"net/url"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
)

// Meaning is the field for the meaning of a signature.
type Meaning struct {
	Prefix  string   // of the ids of its elements
	Fixed   []string // to choose from
	Chosen  string   // one of them, or ownMeaning; empty for none
	Own     string   // typed
	Problem string
}

// Credentials are the fields for the password and, before the first signature of a
// session, for the user name.
type Credentials struct {
	Prefix          string // of the ids of its elements
	First           bool   // whether the user name is asked for
	User            string // typed before
	Name            string // of the PI, as printed
	Until           time.Time
	UserProblem     string
	PasswordProblem string
}

// ownMeaning is the choice of a meaning in one's own words.
const ownMeaning = "own"

// Prefixes of the ids of the elements of the two forms that sign.
const (
	Prefix         = "sign-"
	WithdrawPrefix = "withdraw-"
)

// Meanings that a PI may choose. None is chosen before.
var (
	meanings         = []string{"I have reviewed and approve this assessment.", "I take responsibility for this assessment."}
	withdrawMeanings = []string{"I withdraw this assessment.", "I have reviewed this assessment; it was signed in error."}
)

// meaningOf returns the field with what was typed before.
func meaningOf(prefix string, fixed []string, p *page.Problem, typed url.Values) Meaning {
	return Meaning{prefix, fixed, typed.Get("meaning"), typed.Get("own"), p.At(prefix + "meaning")}
}

// MeaningOf returns the meaning that was typed or chosen in a form that was sent.
func MeaningOf(form url.Values) string {
	meaning := form.Get("meaning")
	if meaning == "" || meaning == ownMeaning {
		meaning = form.Get("own")
	}
	return signing.Line(meaning)
}

// NewCredentials returns the fields with what was typed before, but never a password. First
// reports whether the user name is asked for, and until is when the session ends.
func NewCredentials(prefix string, first bool, name string, until time.Time, p *page.Problem, typed url.Values) Credentials {
	return Credentials{prefix, first, typed.Get("user"), name, until, p.At(prefix + "user"), p.At(prefix + "password")}
}
