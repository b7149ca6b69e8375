package access

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// Directory is the state folded from access events: the last partner per id
// and the last key per key id. It is a value: Apply gives a new one and leaves
// the old as it was, so that readers share it without a lock. The zero
// Directory is empty.
type Directory struct {
	partners map[string]Partner
	keys     map[string]Key
	unknown  string // the type of an event that must not be passed over; empty: all are known
}

// Apply folds one event of an internal study. One whose kind only a newer version
// knows makes the directory outdated, for ever: see Current. Other events change
// nothing.
func (d Directory) Apply(e events.Event) (Directory, error) {
	switch e.Kind() {
	case events.AccessPartner:
		p, err := decodePartner(e)
		if err != nil {
			return d, err
		}
		return d.WithPartner(p), nil
	case events.AccessKey:
		k, err := decodeKey(e)
		if err != nil {
			return d, err
		}
		return d.WithKey(k), nil
	default:
		if e.Kind().NeedsNewer() {
			d.unknown = cmp.Or(d.unknown, e.Type)
		}
		return d, nil
	}
}

// Current returns an Outdated Error if an event was applied of which only a newer
// version knows what it means: it may have ended the access of anybody. Nobody
// may be let in by this directory then.
func (d Directory) Current() error {
	if d.unknown == "" {
		return nil
	}
	return events.Errorf(events.Outdated, "who may see what is not known, because the log has events of the type %s, "+
		"which this version does not know; nobody is let in until a newer version of signoff runs", d.unknown)
}

// WithPartner gives the directory with p in place of the partner of its id.
func (d Directory) WithPartner(p Partner) Directory {
	d.partners = with(d.partners, p.ID, p)
	return d
}

// WithKey gives the directory with k in place of the key of its id.
func (d Directory) WithKey(k Key) Directory {
	d.keys = with(d.keys, k.ID(), k)
	return d
}

func with[V any](m map[string]V, key string, value V) map[string]V {
	m = maps.Clone(m)
	if m == nil {
		m = make(map[string]V, 1)
	}
	m[key] = value
	return m
}

// Same reports whether nothing was applied between the two. It does not look
// into them, so two that were folded apart are never the same.
func (d Directory) Same(other Directory) bool {
	return sameMap(d.partners, other.partners) && sameMap(d.keys, other.keys) && d.unknown == other.unknown
}

func sameMap[V any](a, b map[string]V) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// Partner gives the partner of an id, enabled or not.
func (d Directory) Partner(id string) (Partner, bool) {
	p, ok := d.partners[id]
	return p, ok
}

// Partners gives all partners, by id.
func (d Directory) Partners() []Partner {
	out := make([]Partner, 0, len(d.partners))
	for _, id := range slices.Sorted(maps.Keys(d.partners)) {
		out = append(out, d.partners[id])
	}
	return out
}

// Key gives the key of a key id.
func (d Directory) Key(id string) (Key, bool) {
	k, ok := d.keys[id]
	return k, ok
}

// Keys gives all keys, by key id.
func (d Directory) Keys() []Key {
	out := make([]Key, 0, len(d.keys))
	for _, id := range slices.Sorted(maps.Keys(d.keys)) {
		out = append(out, d.keys[id])
	}
	return out
}
