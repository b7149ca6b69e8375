package admission

import (
	"context"
	"slices"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
)

// narrowed is a directory that was made from two, so that it is made once.
type narrowed struct {
	from   access.Directory
	later  *access.Directory
	result access.Directory
}

// Directory returns who may see what: what the read model has applied, without
// what access events take away that wait in the outbox. What these give has to
// wait: whether they will ever be on the log is not certain, as where the outbox is
// an older copy and the publisher has stopped.
func (o *Admission) Directory() access.Directory {
	d, later := o.Model.Directory(), o.later.Load()
	if later == nil {
		return d
	}
	if n := o.narrow.Load(); n != nil && n.later == later && n.from.Same(d) {
		return n.result
	}
	n := &narrowed{from: d, later: later, result: d.Narrow(*later)}
	o.narrow.Store(n)
	return n.result
}

// unapplied returns the access events that the read model has not applied.
func (o *Admission) unapplied(ctx context.Context) ([]events.Entry, error) {
	applied, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return nil, err
	}
	committed, err := o.outbox.ChainHead(ctx, events.AccessStudy)
	if err != nil || applied == committed {
		o.waiting = committed.Number
		return nil, err
	}
	pending, err := o.outbox.Source().AccessAfter(ctx, applied)
	return pending, err
}

// respect has Directory leave out what those access events take away that were
// there a look ago; those that came since are about to be applied.
func (o *Admission) respect(pending []events.Entry) error {
	there := pending
	if i := slices.IndexFunc(pending, func(e events.Entry) bool { return e.Event.Number > o.waiting }); i >= 0 {
		there = pending[:i]
	}
	if len(pending) > 0 {
		o.waiting = pending[len(pending)-1].Event.Number
	}
	var numbers [2]uint64
	if len(there) > 0 {
		numbers = [2]uint64{there[0].Event.Number, there[len(there)-1].Event.Number}
	}
	if numbers == o.respected {
		return nil
	}
	var later *access.Directory
	if len(there) > 0 {
		fold := access.Directory{}.Fold()
		for _, e := range there {
			if err := fold.Apply(e.Event); err != nil {
				return err
			}
		}
		d := fold.Directory()
		later = &d
	}
	o.respected = numbers
	o.later.Store(later)
	o.notify()
	return nil
}
