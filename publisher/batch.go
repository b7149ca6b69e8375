package publisher

import "github.com/seed-e88a4ece/signoff/events"

// nextBatch returns the first of the entries, as many as are sent together: one while
// oneByOne is set, otherwise as many as a batch may hold in number and bytes. An entry
// that may exceed the broker's limit is sent alone, so that no batch is opened that
// cannot be committed.
//
// It also sets r.page to about twice the size of this batch. Where events are large only
// few fit into a batch, and the rest of a page would be read again each time.
func (r *Relay) nextBatch(entries []events.Entry) []events.Entry {
	limit := r.cfg.MaxBatch
	if r.oneByOne > 0 {
		limit = 1
	}
	largest := int(r.nc.MaxPayload())
	n, bytes := 0, 0
	for n < min(limit, len(entries)) && bytes < r.cfg.MaxBatchBytes {
		s := size(entries[n].Event)
		if s > largest && n > 0 {
			break
		}
		bytes += s
		n++
		if s > largest {
			break
		}
	}
	r.page = min(r.cfg.MaxBatch, max(2*n, 16))
	return entries[:n]
}
