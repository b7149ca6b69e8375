package readmodel

import (
	"context"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// IDKey is what reports sort by.
var IDKey = idKey

// PositionIn reads the position in a damaged file.
var PositionIn = positionIn

// Applier returns what applies the stream to a model.
func Applier(m *Model) stream.Handler { return &applier{Model: m} }

// UseSteps makes a model find every page of the default order by short steps.
func UseSteps(m *Model) {
	m.paging = paging{shallow: -1, perStep: map[Resource]int{Reports: 3, Observations: 2}}
}

// Resume reads the progress, as after an interruption.
func Resume(ctx context.Context, m *Model) error {
	_, err := (&applier{Model: m}).Resume(ctx)
	return err
}

// Apply applies a model's first events, in batches as they are received.
func Apply(ctx context.Context, m *Model, list []events.Event) error {
	a := &applier{Model: m}
	if _, err := a.Resume(ctx); err != nil {
		return err
	}
	for len(list) > 0 {
		n := min(len(list), m.cfg.MaxBatch)
		b := stream.Batch{After: m.Position()}
		for i, e := range list[:n] {
			b.Messages = append(b.Messages, stream.Message{StreamSequence: b.After.StreamSequence + uint64(i) + 1, Event: e})
		}
		last := b.Messages[n-1]
		b.Position = stream.Position{Created: b.After.Created, StreamSequence: last.StreamSequence, ID: last.Event.ID, Hash: last.Event.Hash}
		if err := a.Apply(ctx, b); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
