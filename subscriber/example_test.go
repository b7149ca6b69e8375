package subscriber_test //nolint:testableexamples // it reads from the server of an installation

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// ledger keeps how far it has read in memory. A real Handler stores it in the
// transaction of what it makes of the events.
type ledger struct{ held subscriber.Progress }

func (l *ledger) Resume(context.Context) (subscriber.Progress, error) { return l.held, nil }

func (l *ledger) Apply(_ context.Context, b subscriber.Batch) error {
	if !b.After.Same(l.held.Position) {
		return subscriber.ErrMoved
	}
	for _, m := range b.Messages {
		fmt.Println(m.StreamSequence, m.Event.Study, m.Event.Number, m.Event.Kind())
		l.held.ChainHeads[m.Event.Study] = m.Event.ChainHead()
	}
	l.held.Position = b.Position
	return nil
}

func Example() {
	ctx := context.Background()
	nc, err := nats.Connect(nats.DefaultURL, nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	handler := &ledger{held: subscriber.Progress{ChainHeads: map[string]events.ChainHead{}}}
	err = subscriber.New(js, handler, subscriber.Config{}).Run(ctx)
	switch {
	case errors.Is(err, subscriber.ErrStreamReplaced):
		log.Fatal("start over from the beginning, or ask the publisher: ", err)
	case errors.Is(err, events.Gap), errors.Is(err, events.Altered):
		log.Fatal("events are missing or not what was signed: ", err)
	case err != nil:
		log.Fatal(err)
	}
}
