package access

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Narrow returns the directory without what later events take away: each partner
// and key that later knows as well is left with what both say. What only one of
// the two knows stays as the directory has it. So access that later events end
// is ended, and what they begin does not begin yet. It is for events that are
// not on the log: whether they will ever be is not certain, so they may take
// away and must not give. Events that only a newer version knows make the result
// outdated; see Current.
func (d Directory) Narrow(later Directory) Directory {
	if later.Same(Directory{}) {
		return d
	}
	f := d.Fold()
	for id, other := range later.partners {
		if p, ok := d.partners[id]; ok {
			f.setPartner(p.narrow(other))
		}
	}
	for id, other := range later.keys {
		if k, ok := d.keys[id]; ok {
			f.setKey(k.narrow(other))
		}
	}
	f.d.unknown = cmp.Or(d.unknown, later.unknown)
	f.d.version = events.ChainHead{Number: later.version.Number, Hash: d.version.Hash + " " + later.version.Hash}
	return f.Directory()
}

func (p Partner) narrow(other Partner) Partner {
	p.Enabled = p.Enabled && other.Enabled
	p.Studies = slices.DeleteFunc(slices.Clone(p.Studies), func(s string) bool { return !slices.Contains(other.Studies, s) })
	secrets := []Secret{}
	for _, s := range p.Secrets {
		if i := slices.IndexFunc(other.Secrets, func(o Secret) bool { return o.SHA256 == s.SHA256 }); i >= 0 {
			s.Expires = earlier(s.Expires, other.Secrets[i].Expires)
			secrets = append(secrets, s)
		}
	}
	p.Secrets = secrets
	return p
}

// earlier returns the earlier of two ends; nil is none.
func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

func (k Key) narrow(other Key) Key {
	if !other.Until.IsZero() && (k.Until.IsZero() || other.Until.Before(k.Until)) {
		k.Until = other.Until
	}
	return k
}
