package signform

import (
	"errors"
	"net/url"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Stale reports whether something that the form asks to be signed is not as the PI has seen
// it. What was signed before, and is asked for again, is not stale.
func Stale(c review.Case, r signing.Request) bool {
	for _, item := range r.Items {
		i := slices.IndexFunc(c.Visits, func(v review.Visit) bool { return v.ID == item.ID })
		switch {
		case i < 0:
			return true
		case c.Visits[i].Signed != nil && c.Visits[i].Signed.Digest == item.Digest:
		case c.Visits[i].Waiting == nil || c.Visits[i].Waiting.Digest != item.Digest || c.Stamp != r.Stamp:
			return true
		}
	}
	return len(r.Items) == 0 && c.Stamp != r.Stamp
}

// Problems returns what is missing from a sign-off, or malformed. A visit that
// contradicts RECIST 1.1, by r.Checked, needs a reason.
func Problems(c review.Case, r signing.Request) (items []page.ProblemItem) {
	if len(r.Items) == 0 {
		items = append(items, page.ProblemItem{Field: "sign-visits", Text: "Choose at least one visit to sign."})
	}
	for _, item := range r.Items {
		i := slices.IndexFunc(c.Visits, func(v review.Visit) bool { return v.ID == item.ID })
		waits := i >= 0 && c.Visits[i].Waiting != nil && c.Visits[i].Waiting.Digest == item.Digest
		switch {
		case !waits: // it was signed before, with the reason of then
		case item.Reason != "":
			items = appendText(items, "reason-"+item.ID, "The reason", events.ValidReason(item.Reason))
		case r.Checked[item.ID].Contradicts():
			items = append(items, page.ProblemItem{
				Field: "reason-" + item.ID, Text: "Say why " + c.Visits[i].Waiting.Assessment.Name + " stands as recorded, although it contradicts RECIST 1.1.",
			})
		}
	}
	return appendMeaning(items, Prefix+"meaning", r.Meaning)
}

func appendMeaning(items []page.ProblemItem, field, meaning string) []page.ProblemItem {
	if meaning == "" {
		return append(items, page.ProblemItem{Field: field, Text: "Choose what your signature means, or write it."})
	}
	return appendText(items, field, "The meaning", events.ValidMeaning(meaning))
}

// appendText appends what is wrong with a text that was typed, if err is not nil.
func appendText(items []page.ProblemItem, field, what string, err error) []page.ProblemItem {
	var e *events.Error
	if !errors.As(err, &e) {
		return items
	}
	return append(items, page.ProblemItem{Field: field, Text: what + " " + e.Message + "."})
}

// WithdrawProblems returns what is missing from a withdrawal, or malformed.
func WithdrawProblems(meaning, reason string) []page.ProblemItem {
	items := appendReason(nil, "withdraw-reason", reason, "Say why it is withdrawn.")
	return appendMeaning(items, WithdrawPrefix+"meaning", meaning)
}

// ReturnProblems returns what is missing from the return of an assessment, or malformed.
func ReturnProblems(id, reason string) (items []page.ProblemItem) {
	if !events.ValidFHIRID(id) {
		items = append(items, page.ProblemItem{Field: "return-visits", Text: "Choose the visit to return."})
	}
	return appendReason(items, "return-reason", reason, "Say what the source is to correct.")
}

// appendReason appends what is wrong with a reason; missing is the text if there is none.
func appendReason(items []page.ProblemItem, field, reason, missing string) []page.ProblemItem {
	if reason == "" {
		return append(items, page.ProblemItem{Field: field, Text: missing})
	}
	return appendText(items, field, "The reason", events.ValidReason(reason))
}

// MissingCredentials returns which of the credentials of a signature the form lacks. First
// reports whether it needs the user name.
func MissingCredentials(form url.Values, prefix string, first bool) (items []page.ProblemItem) {
	if form.Get("user") == "" && first {
		items = append(items, page.ProblemItem{Field: prefix + "user", Text: "Type your user name: this is the first signature since you signed in."})
	}
	if form.Get("password") == "" {
		items = append(items, page.ProblemItem{Field: prefix + "password", Text: "Type your password: it is your signature."})
	}
	return items
}
