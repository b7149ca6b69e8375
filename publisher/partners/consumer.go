package partners

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// The metadata of every consumer of a partner. By it a round finds consumers of partners
// whose names are not wanted any more, however long ago they were created.
const (
	metadataKey   = "signoff"
	metadataValue = "partner"
)

// wantedConsumers returns the consumers that the partners should have, by name.
func wantedConsumers(granted map[string]tenancy.Partner) map[string]tenancy.Consumer {
	wanted := make(map[string]tenancy.Consumer)
	for _, p := range granted {
		for _, w := range p.Consumers() {
			wanted[w.Name] = w
		}
	}
	return wanted
}

// consumerConfig returns the configuration of a consumer that starts after the stream
// sequence acknowledged, or at the first event if that is zero.
func (r *Reconciler) consumerConfig(w tenancy.Consumer, acknowledged uint64) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:       w.Name,
		FilterSubject: w.Subject,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       r.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: r.cfg.MaxAckPending,
		MaxWaiting:    tenancy.MaxWaiting,
		Metadata:      map[string]string{metadataKey: metadataValue},

		MaxRequestExpires: tenancy.MaxRequestExpires,
	}
	if n := r.replicas(); n != r.stream.replicas { // otherwise the server takes those of the stream
		c.Replicas = n
	}
	if acknowledged > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, acknowledged+1
	}
	return c
}

// fits reports whether a consumer with the configuration c delivers what w should, and no
// more. It never does for the zero w.
func fits(c jetstream.ConsumerConfig, w tenancy.Consumer) bool {
	return w.Subject != "" && c.Durable == w.Name && c.FilterSubject == w.Subject && len(c.FilterSubjects) == 0 &&
		c.MaxWaiting == tenancy.MaxWaiting && c.MaxRequestExpires == tenancy.MaxRequestExpires &&
		c.DeliverSubject == "" && c.AckPolicy == jetstream.AckExplicitPolicy && c.MaxDeliver == -1 && !c.HeadersOnly
}

// createConsumer creates a consumer. It starts at the study's first event or, if the servers
// lost it, after the last event that was acknowledged. It is called concurrently.
func (r *Reconciler) createConsumer(ctx context.Context, w tenancy.Consumer) (*jetstream.ConsumerInfo, error) {
	if w.Subject == "" {
		return nil, events.Errorf(events.Internal, "consumer %s without a filter", w.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	acknowledged := r.acknowledged[w.Name]
	// A consumer that starts beyond the stream's end would start before it after a restart
	// of the server. And the stream must not be in the middle of being filled again: a
	// partner that has read more than it holds would take it for an older log.
	if last := r.stream.last; last < max(acknowledged, r.stream.end) {
		return nil, events.Errorf(events.Unavailable, "create consumer %s: the stream ends at %d and is being filled again up to %d; "+
			"the partner has acknowledged up to %d", w.Name, last, r.stream.end, acknowledged)
	}
	created, err := r.js.CreateConsumer(ctx, events.Stream, r.consumerConfig(w, acknowledged))
	if err != nil {
		return nil, fmt.Errorf("create consumer %s: %w", w.Name, err)
	}
	info := created.CachedInfo()
	if !fits(info.Config, w) {
		return nil, events.Errorf(events.Internal, "consumer %s was not created with its configuration", w.Name)
	}
	r.cfg.Log.Info("consumer created", "consumer", w.Name, "behind", acknowledged)
	return info, nil
}

// deleteConsumer deletes a consumer; one that does not exist is no error. It is safe for
// concurrent use.
func (r *Reconciler) deleteConsumer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.withdrawTimeout)
	defer cancel()
	err := r.js.DeleteConsumer(ctx, events.Stream, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete consumer %s: %w", name, err)
	}
	r.cfg.Log.Info("consumer deleted", "consumer", name)
	return nil
}
