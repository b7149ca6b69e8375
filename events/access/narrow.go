package access

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Narrow returns the directory without the access that later events end. The directory
// later is the state after those events alone. A partner or key that is in both
// directories gets the access that both allow. One that is only in d stays as it is. One
// that is only in later is left out. So the result lacks the access that later events end,
// and has none that they begin.
//
// Narrow is for events that are not on the log yet. It is not certain that they will
// ever be, so they may end access but must not begin any. If one of them needs a
// newer version of the program, the result is outdated; see Current.
func (d Directory) Narrow(later Directory) Directory {
	if later.Same(Directory{}) {
		return d // there are no later events
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
	// The result has no event of its own. It is the Same only as one of the same two directories.
	f.d.version = events.ChainHead{Number: later.version.Number, Hash: d.version.Hash + " " + later.version.Hash}
	return f.Directory()
}

// narrow returns p with the access that both p and other allow: the studies and secrets
// that both have, each secret until the earlier expiry.
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

// earlier returns the earlier of two times of expiry; nil is never.
func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// narrow returns k with the earlier Until of k and other. A zero Until is the latest.
func (k Key) narrow(other Key) Key {
	if !other.Until.IsZero() && (k.Until.IsZero() || other.Until.Before(k.Until)) {
		k.Until = other.Until
	}
	return k
}
