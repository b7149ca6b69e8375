package access

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Limit returns the directory without what other does not allow. A partner or key that is
// in both gets the access that both allow. One that is in only one of them is left out. So
// access that either directory lacks is not in the result: other may lack what was revoked
// and is not on the log yet, or what is on the log and was never granted.
//
// If an event that only a newer version of the program understands was applied to one of
// the directories, the result is outdated; see Current.
func (d Directory) Limit(other Directory) Directory {
	limited := Directory{
		partners: make(map[string]Partner, len(d.partners)), keys: make(map[string]Key, len(d.keys)),
		unknown: cmp.Or(d.unknown, other.unknown), version: d.version, limit: other.version,
	}
	for id, p := range d.partners {
		if o, ok := other.partners[id]; ok {
			limited.partners[id] = p.limit(o)
		}
	}
	for id, k := range d.keys {
		if o, ok := other.keys[id]; ok {
			limited.keys[id] = k.limit(o)
		}
	}
	return limited
}

// LimitedBy returns the Version of the directory with which Limit was called last; the zero
// ChainHead if it was not.
func (d Directory) LimitedBy() events.ChainHead { return d.limit }

// limit returns p with the access that both p and other allow: the studies and secrets
// that both have, each secret until the earlier expiry.
func (p Partner) limit(other Partner) Partner {
	p.Enabled = p.Enabled && other.Enabled
	if !slices.Equal(p.Studies, other.Studies) {
		p.Studies = slices.DeleteFunc(slices.Clone(p.Studies), func(s string) bool { return !slices.Contains(other.Studies, s) })
	}
	if !slices.EqualFunc(p.Secrets, other.Secrets, sameSecret) {
		secrets := []Secret{}
		for _, s := range p.Secrets {
			if i := slices.IndexFunc(other.Secrets, func(o Secret) bool { return o.SHA256 == s.SHA256 }); i >= 0 {
				s.Expires = earlier(s.Expires, other.Secrets[i].Expires)
				secrets = append(secrets, s)
			}
		}
		p.Secrets = secrets
	}
	return p
}

// sameSecret reports whether both are the same secret with the same expiry.
func sameSecret(a, b Secret) bool {
	return a.SHA256 == b.SHA256 && (a.Expires == nil) == (b.Expires == nil) && (a.Expires == nil || a.Expires.Equal(*b.Expires))
}

// earlier returns the earlier of two times of expiry; nil is never.
func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// limit returns k with the earlier Until of k and other. A zero Until is the latest. If one
// of them is revoked, the result is.
func (k Key) limit(other Key) Key {
	if other.Revoked() {
		k.Until = k.From
	} else if !k.Revoked() && !other.Until.IsZero() && (k.Until.IsZero() || other.Until.Before(k.Until)) {
		k.Until = other.Until
	}
	return k
}
