package access

import (
	"cmp"
	"maps"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
)

// Directory is the state folded from access events: the last partner per id
// and the last key per key id. It is a value that never changes, so that
// readers share it without a lock: Apply returns a new one. The zero Directory
// is empty.
type Directory struct {
	partners map[string]Partner
	keys     map[string]Key
	unknown  string           // the type of an event that must not be passed over; empty: all are known
	version  events.ChainHead // the last access event that is folded in
}

// Apply folds one event of an internal study. One whose kind only a newer version
// knows makes the directory outdated, for ever: see Current. Other events change
// nothing. It copies the partners or the keys; a Fold copies them once for many
// events.
func (d Directory) Apply(e events.Event) (Directory, error) {
	f := d.Fold()
	err := f.Apply(e)
	return f.Directory(), err
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

// WithPartner returns the directory with p in place of the partner of its id.
func (d Directory) WithPartner(p Partner) Directory {
	f := d.Fold()
	f.setPartner(p)
	f.d.version = events.ChainHead{Number: d.version.Number + 1, Hash: p.EventSubject()}
	return f.Directory()
}

// WithKey returns the directory with k in place of the key of its id.
func (d Directory) WithKey(k Key) Directory {
	f := d.Fold()
	f.setKey(k)
	f.d.version = events.ChainHead{Number: d.version.Number + 1, Hash: k.EventSubject()}
	return f.Directory()
}

// Same reports whether both hold the same access events. It compares which one
// came last: its hash covers all before it. A change by WithPartner or WithKey
// has no event; of it only the number and whom it concerned are compared.
func (d Directory) Same(other Directory) bool {
	return d.version == other.version && d.unknown == other.unknown
}

// Partner returns the partner of an id, enabled or not.
func (d Directory) Partner(id string) (Partner, bool) {
	p, ok := d.partners[id]
	return p, ok
}

// Partners returns all partners, by id.
func (d Directory) Partners() []Partner {
	out := make([]Partner, 0, len(d.partners))
	for _, id := range slices.Sorted(maps.Keys(d.partners)) {
		out = append(out, d.partners[id])
	}
	return out
}

// Key returns the key of a key id.
func (d Directory) Key(id string) (Key, bool) {
	k, ok := d.keys[id]
	return k, ok
}

// Keys returns all keys, by key id.
func (d Directory) Keys() []Key {
	out := make([]Key, 0, len(d.keys))
	for _, id := range slices.Sorted(maps.Keys(d.keys)) {
		out = append(out, d.keys[id])
	}
	return out
}

// Fold folds a run of access events into a directory. It copies what the
// directory holds when the first event changes it, and not again for those
// that follow: with a copy for each event, 10,000 partners cost 50 million
// copies of a partner.
type Fold struct {
	d                    Directory
	ownPartners, ownKeys bool // the map is a copy that no Directory shares
}

// Fold returns a Fold that begins with the directory, which stays as it is.
func (d Directory) Fold() *Fold { return &Fold{d: d} }

// Apply folds one event of the internal study, as Directory.Apply does. After
// an error the Fold is as it was before the event.
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
		return nil // the version counts what can be folded
	}
	f.d.version = e.ChainHead()
	return nil
}

// Directory returns what is folded so far. Later events do not change it.
func (f *Fold) Directory() Directory {
	f.ownPartners, f.ownKeys = false, false
	return f.d
}

func (f *Fold) setPartner(p Partner) {
	if !f.ownPartners {
		f.d.partners, f.ownPartners = writable(f.d.partners), true
	}
	f.d.partners[p.ID] = p
}

func (f *Fold) setKey(k Key) {
	if !f.ownKeys {
		f.d.keys, f.ownKeys = writable(f.d.keys), true
	}
	f.d.keys[k.ID()] = k
}

func writable[V any](m map[string]V) map[string]V {
	if m == nil {
		return make(map[string]V)
	}
	return maps.Clone(m)
}
