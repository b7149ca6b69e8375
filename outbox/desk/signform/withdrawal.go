package signform

import (
	"net/url"
	"slices"

	"github.com/seed-e88a4ece/signoff/outbox/desk/page"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Withdrawal is the form by which the version of an assessment that was signed last is
// withdrawn. That is a signature.
type Withdrawal struct {
	ID, Name      string
	Tag           string
	Open          bool   // whether the form is shown, because it was refused
	Reason        string // typed before
	ReasonProblem string
	Meaning       Meaning
	Credentials   Credentials
}

// NewWithdrawal returns the form for an assessment of the case, or nil if nothing of it can be
// withdrawn. Typed is the form that was sent and refused with the problem p, or nil.
func NewWithdrawal(c review.Case, id string, credentials Credentials, p *page.Problem, typed url.Values) *Withdrawal {
	i := slices.IndexFunc(c.Visits, func(v review.Visit) bool { return v.ID == id })
	if i < 0 || c.Visits[i].Signed == nil || c.Visits[i].Signed.Withdrawal != nil {
		return nil
	}
	return &Withdrawal{
		ID: id, Name: c.Visits[i].Signed.Assessment.Name, Tag: c.Tag(id), Open: typed != nil, Reason: typed.Get("reason"), ReasonProblem: p.At("withdraw-reason"),
		Meaning: meaningOf(WithdrawPrefix, withdrawMeanings, p, typed), Credentials: credentials,
	}
}
