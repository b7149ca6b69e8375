package events

// PartnerAPIPrefix stands in a partner's account in place of $JS.API.
const PartnerAPIPrefix = "js.signoff"

// How many messages a partner may send over all its connections, requests and
// acknowledgements, or receive: a second for long, and at once. A partner that exceeds
// this is suspended for some time.
const (
	PartnerRate  = 5_000
	PartnerBurst = 10_000
)

// PartnerSubscriptions is how many subscriptions a connection of a partner may have. The
// server sends, and keeps until it is read, a copy of each event to each.
const PartnerSubscriptions = 64

// PartnerConsumer is the durable consumer of one study of a partner.
func PartnerConsumer(partner, key string) string { return partner + "=" + key }

// PartnerAccess is the durable consumer that tells a partner of its access.
func PartnerAccess(partner string) string { return partner }
