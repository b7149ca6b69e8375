package events

import "encoding/json"

// PartnerAPIPrefix is the JetStream API prefix in a partner's account, in place of
// $JS.API.
const PartnerAPIPrefix = "js.signoff"

// The quota of a partner is for the messages that it sends (requests and acknowledgements)
// and receives over all its connections. PartnerRate is the number allowed a second on
// average, PartnerBurst the number allowed at once. A partner that exceeds its quota is
// suspended for some time.
const (
	PartnerRate  = 5_000
	PartnerBurst = 10_000
)

// PartnerSubscriptions is how many subscriptions a connection of a partner may have. They
// are limited because the server sends a copy of each event to each subscription, and
// stores the copy until it is read.
const PartnerSubscriptions = 64

// PartnerConsumer returns the name of the durable consumer of one study of a partner.
func PartnerConsumer(partner, key string) string { return partner + "=" + key }

// PartnerAccess returns the name of the durable consumer of the announcements of a
// partner's access.
func PartnerAccess(partner string) string { return partner }

// Grant is the body of an AccessGranted or AccessRevoked event: the study that the
// partner may see from then on, or no longer.
type Grant struct {
	Partner  string `json:"partner"`
	Study    string `json:"study"` // study id, as in reports
	StudyKey string `json:"token"` // as in subjects and consumer names
}

// EventSubject returns the CloudEvents subject of the grant's events.
func (g Grant) EventSubject() string { return "ResearchStudy/" + g.StudyKey }

// Grant returns the grant in the body of an AccessGranted or AccessRevoked event.
// It returns an Invalid Error if the event is of another kind or contradicts the
// body.
func (e Event) Grant() (Grant, error) {
	if !e.Kind().announces() {
		return Grant{}, Fieldf("type", "%q is not the type of an event that grants or revokes a study", clip(e.Type))
	}
	var g Grant
	if err := json.Unmarshal(e.Data, &g); err != nil {
		return Grant{}, &Error{Code: Invalid, Message: "the body of an announcement of access is not a grant", Err: err}
	}
	if e.Study != PartnerStudy(g.Partner) || e.Subject != g.EventSubject() || g.StudyKey != StudyKey(g.Study) {
		return Grant{}, Errorf(Invalid, "the grant in an announcement of access does not match its study %s and its subject %s", e.Study, e.Subject)
	}
	return g, nil
}
