package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// StreamConfig is what an installation may choose about the stream.
type StreamConfig struct {
	// Replicas is the number of servers that hold the stream: 1 on the
	// embedded server, 3 on a cluster. Defaults to 1.
	Replicas int

	// RefillTo is the outbox's highest ordinal. A stream that is created bears
	// it as a mark, in the same request, so that at no moment it looks complete
	// to those who have no outbox; see events.RefillKey. Zero: nothing was
	// published yet, and nothing is marked.
	RefillTo uint64
}

// duplicates is the broker's shortest memory of message ids. Nothing relies on
// it, and it costs memory for each message it covers.
const duplicates = 100 * time.Millisecond

func (c StreamConfig) stream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.Stream,
		Metadata:    refillMark(nil, c.RefillTo),
		Description: "sign-off events; written by the publisher only",
		Subjects:    []string{events.IngestWildcard},
		// Stored under other subjects than published to, and shown to core
		// subscribers only once stored: on their own subjects they would see
		// messages of batches that are never committed. Who may hear which is up
		// to accounts and permissions: partners hear what is exported to them.
		SubjectTransform:   &jetstream.SubjectTransformConfig{Source: events.IngestWildcard, Destination: events.StoredWildcard},
		RePublish:          &jetstream.RePublish{Source: events.StoredWildcard, Destination: events.StoredWildcard},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		Storage:            jetstream.FileStorage,
		Replicas:           max(c.Replicas, 1),
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         duplicates,
		DenyDelete:         true,
		DenyPurge:          true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
}

// EnsureStream gives the stream and creates it if it does not exist. One that
// exists with other settings is a Conflict Error that names them; it is not
// changed, but for one that shows studies only to live subscribers, as before
// partners were told of their access: it shows all from then on.
func EnsureStream(ctx context.Context, js jetstream.JetStream, cfg StreamConfig) (jetstream.Stream, error) {
	want := cfg.stream()
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", want.Name, err)
	}
	if republish(stream.CachedInfo().Config) == studiesOnly {
		if stream, err = showAll(ctx, js, stream.CachedInfo().Config, want); err != nil {
			return nil, err
		}
	}
	if d := differences(stream.CachedInfo().Config, want); len(d) > 0 {
		return nil, events.Errorf(events.Conflict, "stream %s exists with other settings: %s; "+
			"set them right, or delete the stream: it is filled again from the outbox", want.Name, strings.Join(d, ", "))
	}
	return stream, nil
}

const studiesOnly = events.PartnerPrefix + "> to " + events.PartnerPrefix + ">"

func showAll(ctx context.Context, js jetstream.JetStream, got, want jetstream.StreamConfig) (jetstream.Stream, error) {
	got.RePublish = want.RePublish
	stream, err := js.UpdateStream(ctx, got)
	if err != nil {
		return nil, fmt.Errorf("have stream %s show all that it stores: %w", got.Name, err)
	}
	return stream, nil
}

// differences names the settings of got that change what is stored, for how
// long, or how safely, and differ from want. A limit on the size of a message
// is not among them: what exceeds it is parked, visibly.
func differences(got, want jetstream.StreamConfig) []string {
	var all []string
	for _, s := range []struct {
		name      string
		got, want any
	}{
		{"subjects", got.Subjects, want.Subjects},
		{"subject transform", transform(got), transform(want)},
		{"republish", republish(got), republish(want)},
		{"mirror", got.Mirror != nil, false},
		{"sources", len(got.Sources), 0},
		{"retention", got.Retention, want.Retention},
		{"discard", got.Discard, want.Discard},
		{"discard new per subject", got.DiscardNewPerSubject, false},
		{"storage", got.Storage, want.Storage},
		{"persist mode", got.PersistMode, want.PersistMode},
		{"replicas", got.Replicas, want.Replicas},
		{"max messages", got.MaxMsgs, want.MaxMsgs},
		{"max bytes", got.MaxBytes, want.MaxBytes},
		{"max age", got.MaxAge, want.MaxAge},
		{"max messages per subject", got.MaxMsgsPerSubject, want.MaxMsgsPerSubject},
		{"max consumers", got.MaxConsumers, want.MaxConsumers},
		{"first sequence", max(got.FirstSeq, 1), uint64(1)},
		{"duplicate window", got.Duplicates, want.Duplicates},
		{"no ack", got.NoAck, false},
		{"sealed", got.Sealed, false},
		{"deny delete", got.DenyDelete, want.DenyDelete},
		{"deny purge", got.DenyPurge, want.DenyPurge},
		{"allow rollup", got.AllowRollup, false},
		{"allow direct", got.AllowDirect, want.AllowDirect},
		{"allow message TTL", got.AllowMsgTTL, false},
		{"allow message counter", got.AllowMsgCounter, false},
		{"allow message schedules", got.AllowMsgSchedules, false},
		{"allow batch publish", got.AllowBatchPublish, false},
		{"allow atomic publish", got.AllowAtomicPublish, want.AllowAtomicPublish},
	} {
		if g, w := fmt.Sprint(s.got), fmt.Sprint(s.want); g != w {
			all = append(all, fmt.Sprintf("%s is %s, must be %s", s.name, g, w))
		}
	}
	return all
}

func transform(c jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return c.SubjectTransform.Source + " to " + c.SubjectTransform.Destination
}

func republish(c jetstream.StreamConfig) string {
	if c.RePublish == nil {
		return "none"
	}
	text := c.RePublish.Source + " to " + c.RePublish.Destination
	if c.RePublish.HeadersOnly {
		text += ", headers only"
	}
	return text
}
