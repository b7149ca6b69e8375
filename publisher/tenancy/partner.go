package tenancy

import (
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// Partner is a partner of the directory with the keys of the studies that are granted
// to it, sorted.
type Partner struct {
	access.Partner
	Keys []string
}

// PartnerOf returns the partner with the keys of the studies granted to it. A partner that
// is not enabled has none.
func PartnerOf(p access.Partner) Partner {
	keys := []string{}
	for _, study := range p.Studies {
		if p.Granted(study) {
			keys = append(keys, events.StudyKey(study))
		}
	}
	slices.Sort(keys)
	return Partner{Partner: p, Keys: slices.Compact(keys)}
}

// EnabledPartners returns, by id, the enabled partners of the directory. It leaves out those
// whose id is not valid in the name of a consumer.
func EnabledPartners(d access.Directory) map[string]Partner {
	all := make(map[string]Partner)
	for _, p := range d.Partners() {
		if p.Enabled && events.ValidPartnerID(p.ID) {
			all[p.ID] = PartnerOf(p)
		}
	}
	return all
}

// Intersect returns the partner's keys that are among keys.
func (p Partner) Intersect(keys []string) []string {
	wanted := make(map[string]bool, len(keys))
	for _, k := range keys {
		wanted[k] = true
	}
	common := []string{}
	for _, k := range p.Keys {
		if wanted[k] {
			common = append(common, k)
		}
	}
	return common
}

// Study returns the partner's study with the key; empty if it has none.
func (p Partner) Study(key string) string {
	i := slices.IndexFunc(p.Studies, func(study string) bool { return key != "" && events.StudyKey(study) == key })
	if i < 0 {
		return ""
	}
	return p.Studies[i]
}

// Limits on the requests for events that wait at a consumer. They bound the heartbeats that
// a partner can cause, because each request may ask for many a second.
const (
	MaxWaiting        = 32          // requests: two for each connection that a partner may have by default
	MaxRequestExpires = time.Minute // how long a request may wait
)

// Consumer is a durable consumer that a partner has.
type Consumer struct {
	Name    string
	Key     string // of its study; empty for the access consumer
	Subject string // its filter, and its live subject
}

// Consumers returns the consumers of a partner that is granted the studies with the
// keys: its access consumer and one for each study. Each has a filter: without one it would
// receive every event.
func Consumers(partner string, keys []string) []Consumer {
	all := []Consumer{{events.PartnerAccess(partner), "", events.PartnerAccessSubject(partner)}}
	for _, k := range keys {
		all = append(all, Consumer{events.PartnerConsumer(partner, k), k, events.StudySubjects(k)})
	}
	return all
}

// Consumers returns the consumers of the partner.
func (p Partner) Consumers() []Consumer { return Consumers(p.ID, p.Keys) }
