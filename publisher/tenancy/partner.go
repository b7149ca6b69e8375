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

// PartnerOf returns the partner with the keys of its studies.
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

// EnabledPartners returns the enabled partners of the directory by id.
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

// Requests for events that wait at a consumer: how many, and for how long. Each may ask
// for heartbeats, a thousand a second if it likes. The limits allow two for each
// connection that a partner may have by default.
const (
	MaxWaiting        = 32
	MaxRequestExpires = time.Minute
)

// Consumer is a durable consumer that a partner has.
type Consumer struct {
	Name    string
	Key     string // of its study; empty for the access consumer
	Subject string // its filter, which is the live subject too
}

// Consumers returns the consumers of a partner that is granted the studies with the
// keys: one for its access and one for each study. None is without a filter: it would
// receive every event.
func Consumers(partner string, keys []string) []Consumer {
	all := []Consumer{{events.PartnerAccess(partner), "", events.PartnerAccessSubject(partner)}}
	for _, k := range keys {
		all = append(all, Consumer{events.PartnerConsumer(partner, k), k, events.StudySubjects(k)})
	}
	return all
}

// Consumers returns those of the partner.
func (p Partner) Consumers() []Consumer { return Consumers(p.ID, p.Keys) }
