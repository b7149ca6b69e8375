package access

import (
	"cmp"
	"maps"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// Directory is the state after some access events: the last partner of each id and
// the last key of each key id. It never changes, so that readers can share it
// without a lock: Apply returns a new one. The zero Directory is empty.
type Directory struct {
	partners map[string]Partner
	keys     map[string]Key
	unknown  string           // the type of the first event that needs a newer version; empty: none does
	version  events.ChainHead // the last event that set a partner or key; see Same
	limit    events.ChainHead // the version of the directory that limits this one; see Limit
}

// Apply returns the directory after one more event of an internal study. An
// AccessPartner or AccessKey event sets a partner or a key. An event whose kind needs a
// newer version of the program makes the directory outdated, for good; see Current. Other
// events change nothing. Apply copies all partners or all keys; for many events use a
// Fold, which copies them once.
func (d Directory) Apply(e events.Event) (Directory, error) {
	f := d.Fold()
	err := f.Apply(e)
	return f.Directory(), err
}

// Current returns an Outdated Error if an event was applied whose kind needs a newer
// version of the program. Such an event may have ended the access of anybody, so
// nobody may be let in by this directory then.
func (d Directory) Current() error {
	if d.unknown == "" {
		return nil
	}
	return events.Errorf(events.Outdated, "the log has events of the type %s, which this version does not know and which may end access; "+
		"nobody can log in until a newer version of signoff runs", d.unknown)
}

// WithPartner returns the directory with p as the partner of its id, without an event;
// see Same.
func (d Directory) WithPartner(p Partner) Directory {
	f := d.Fold()
	f.setPartner(p)
	f.d.version = events.ChainHead{Number: d.version.Number + 1, Hash: p.EventSubject()}
	return f.Directory()
}

// WithKey returns the directory with k as the key of its id, without an event; see Same.
func (d Directory) WithKey(k Key) Directory {
	f := d.Fold()
	f.setKey(k)
	f.d.version = events.ChainHead{Number: d.version.Number + 1, Hash: k.EventSubject()}
	return f.Directory()
}

// Version returns the last event that set a partner or a key.
func (d Directory) Version() events.ChainHead { return d.version }

// Same reports whether both directories have the same access events applied. It
// compares only the last event, because its hash covers all before it. A change by
// WithPartner or WithKey has no event. Of such changes Same compares only the number, and
// the id of the partner or key that was changed last. Both must be limited by the same
// events too; see Limit.
func (d Directory) Same(other Directory) bool {
	return d.version == other.version && d.limit == other.limit && d.unknown == other.unknown
}

// Partner returns the partner of an id. It may have been removed; see Enabled.
func (d Directory) Partner(id string) (Partner, bool) {
	p, ok := d.partners[id]
	return p, ok
}

// Partners returns all partners, removed ones too, sorted by id.
func (d Directory) Partners() []Partner { return sortedByID(d.partners) }

// Key returns the key of a key id.
func (d Directory) Key(id string) (Key, bool) {
	k, ok := d.keys[id]
	return k, ok
}

// Keys returns all keys, sorted by key id.
func (d Directory) Keys() []Key { return sortedByID(d.keys) }

// RevokedKeys returns the ids of the keys that are revoked, sorted.
func (d Directory) RevokedKeys() []string {
	var ids []string
	for id, k := range d.keys {
		if k.Revoked() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// sortedByID returns the values of a map, sorted by their keys.
func sortedByID[T any](all map[string]T) []T {
	out := make([]T, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[id])
	}
	return out
}

// Fold applies many access events to a directory. It copies the partners and the
// keys when the first event changes them, and not again for those that follow: with
// a copy for each event, 10,000 partners would cost 50 million copies of a partner.
type Fold struct {
	d                    Directory
	ownPartners, ownKeys bool // the map is a copy that no Directory shares
}

// Fold returns a Fold that starts with the directory, which it does not change.
func (d Directory) Fold() *Fold { return &Fold{d: d} }

// Apply applies one event, as Directory.Apply does. After an error the Fold is as
// it was before the event.
func (f *Fold) Apply(e events.Event) error {
	switch e.Kind() {
	case events.AccessPartner:
		p, err := decodePartner(e)
		if err != nil {
			return err
		}
		f.setPartner(p)
	case events.AccessKey:
		k, err := decodeKey(e)
		if err != nil {
			return err
		}
		f.setKey(k)
	default:
		if e.Kind().NeedsNewer() {
			f.d.unknown = cmp.Or(f.d.unknown, e.Type)
		}
		return nil // version is that of the last event that set a partner or key
	}
	f.d.version = e.ChainHead()
	return nil
}

// Directory returns the directory after the events so far. Later events do not
// change it.
func (f *Fold) Directory() Directory {
	f.ownPartners, f.ownKeys = false, false // the returned directory shares them from now on
	return f.d
}

// setPartner sets the partner of p's id, in a copy of the partners that no Directory
// shares.
func (f *Fold) setPartner(p Partner) {
	if !f.ownPartners {
		f.d.partners, f.ownPartners = writable(f.d.partners), true
	}
	f.d.partners[p.ID] = p
}

// setKey sets the key of k's id, in a copy of the keys that no Directory shares.
func (f *Fold) setKey(k Key) {
	if !f.ownKeys {
		f.d.keys, f.ownKeys = writable(f.d.keys), true
	}
	f.d.keys[k.ID()] = k
}

// writable returns a copy of m that may be written to.
func writable[V any](m map[string]V) map[string]V {
	if m == nil {
		return make(map[string]V)
	}
	return maps.Clone(m)
}
