package events

import "encoding/json"

// Grant is the body of an AccessGranted or AccessRevoked event: the study that the
// partner may see from then on, or no longer.
type Grant struct {
	Partner  string `json:"partner"`
	Study    string `json:"study"` // the study's name, as in reports
	StudyKey string `json:"token"` // as in subjects and consumer names
}

// EventSubject returns the CloudEvents subject of the grant's events.
func (g Grant) EventSubject() string { return "ResearchStudy/" + g.StudyKey }

// Grant returns the grant in the body of an AccessGranted or AccessRevoked event.
// It returns an Invalid Error if the event is of another kind or contradicts the
// body.
func (e Event) Grant() (Grant, error) {
	if !e.Kind().announces() {
		return Grant{}, Fieldf("type", "%q grants and revokes nothing", clip(e.Type))
	}
	var g Grant
	if err := json.Unmarshal(e.Data, &g); err != nil {
		return Grant{}, &Error{Code: Invalid, Message: "an announcement of access holds no grant", Err: err}
	}
	if e.Study != PartnerStudy(g.Partner) || e.Subject != g.EventSubject() || g.StudyKey != StudyKey(g.Study) {
		return Grant{}, Errorf(Invalid, "an announcement of access in %s about %s holds another grant", e.Study, e.Subject)
	}
	return g, nil
}
