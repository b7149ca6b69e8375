package doors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// mark is in the metadata of every consumer made here, so that those nobody is
// granted any more are found after any time.
const (
	mark      = "signoff"
	markValue = "partner"
)

// want is a consumer that a guest must have.
type want struct {
	name   string
	token  string // of its study; empty for the announcements of access
	filter string
}

// wants are the consumers of a guest. None is without a filter: it would see
// everything.
func (g guest) wants() []want {
	all := []want{{events.PartnerAccess(g.ID), "", events.PartnerAccessSubject(g.ID)}}
	for _, t := range g.tokens {
		all = append(all, want{events.PartnerConsumer(g.ID, t), t, events.StudySubjects(t)})
	}
	return all
}

// names returns the consumers of all guests, by name.
func names(all map[string]guest) map[string]want {
	wanted := make(map[string]want)
	for _, g := range all {
		for _, w := range g.wants() {
			wanted[w.name] = w
		}
	}
	return wanted
}

// Requests for events that wait at a consumer: how many, and for how long. Each
// may ask for signs of life, a thousand a second if it likes. There is room for
// two of each connection that a partner may have.
const (
	maxWaiting        = 32
	maxRequestExpires = time.Minute
)

// config of a consumer that starts behind the message floor.
func (d *Doors) config(w want, floor uint64) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:       w.name,
		FilterSubject: w.filter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       d.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: d.cfg.MaxAckPending,
		MaxWaiting:    maxWaiting,
		Metadata:      map[string]string{mark: markValue},

		MaxRequestExpires: maxRequestExpires,
	}
	if r := d.replicas(); r != d.stream.replicas {
		c.Replicas = r
	}
	if floor > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
	}
	return c
}

// fits reports whether a consumer shows the guest what it must, and no more.
func (w want) fits(c jetstream.ConsumerConfig) bool {
	return w.filter != "" && c.Durable == w.name && c.FilterSubject == w.filter && len(c.FilterSubjects) == 0 &&
		c.MaxWaiting == maxWaiting && c.MaxRequestExpires == maxRequestExpires &&
		c.DeliverSubject == "" && c.AckPolicy == jetstream.AckExplicitPolicy && c.MaxDeliver == -1 && !c.HeadersOnly
}

// create makes a consumer: from the study's first event, or, if it was there
// before and the broker has lost it, behind all that was acknowledged.
func (d *Doors) create(ctx context.Context, w want) (*jetstream.ConsumerInfo, error) {
	if w.filter == "" {
		return nil, events.Errorf(events.Internal, "consumer %s without a filter", w.name)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	floor := d.floors[w.name]
	// One that starts beyond the stream's end would start before it after the
	// broker was started again. And a partner that has read more than a stream
	// holds that is being filled again would take it for an older log.
	if last := d.stream.last; last < max(floor, d.stream.end) {
		return nil, events.Errorf(events.Unavailable, "make consumer %s: the stream ends at %d and is filled again up to %d; "+
			"the partner has acknowledged up to %d", w.name, last, d.stream.end, floor)
	}
	made, err := d.js.CreateConsumer(ctx, events.Stream, d.config(w, floor))
	if err != nil {
		return nil, fmt.Errorf("make consumer %s: %w", w.name, err)
	}
	info := made.CachedInfo()
	if !w.fits(info.Config) {
		return nil, events.Errorf(events.Internal, "consumer %s was not made as asked for", w.name)
	}
	d.cfg.Log.Info("consumer made", "consumer", w.name, "behind", floor)
	return info, nil
}

// remove deletes a consumer, for good.
func (d *Doors) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, withdrawWait)
	defer cancel()
	err := d.js.DeleteConsumer(ctx, events.Stream, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete consumer %s: %w", name, err)
	}
	d.cfg.Log.Info("consumer deleted", "consumer", name)
	return nil
}
