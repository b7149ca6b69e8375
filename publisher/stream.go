package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
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

	// MaxConsumers is how many consumers the stream may have, of partners and of
	// the service. A stream that allows more is left so. Defaults to 5,100.
	MaxConsumers int

	// RefillTo is the outbox's highest stream sequence. A stream that is created has
	// it as a mark, from the same request, so that at no moment it counts as complete
	// to those who have no outbox; see events.RefillKey. Zero: nothing was
	// published yet, and nothing is marked.
	RefillTo uint64
}

// defaultMaxConsumers is stated because nats-server takes a stream without a
// limit for one of 1,000 consumers.
const defaultMaxConsumers = 5100

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
		// messages of batches that are never committed. Who receives which is up
		// to accounts and permissions: partners receive what is exported to them.
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
		MaxConsumers:       cmp.Or(c.MaxConsumers, defaultMaxConsumers),
		Duplicates:         duplicates,
		DenyDelete:         true,
		DenyPurge:          true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
}

// EnsureStream returns the stream and creates it if it does not exist. One that
// exists with other settings is a Conflict Error that names them, and is not
// changed, except for two settings: a stream that republishes only the events of
// studies, as earlier versions made it, is changed to republish all; and a lower limit
// of consumers is raised to the one configured, or to what the account allows.
func EnsureStream(ctx context.Context, js jetstream.JetStream, cfg StreamConfig) (jetstream.Stream, error) {
	want := cfg.stream()
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = withinAccount(ctx, js, want, js.CreateStream)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", want.Name, err)
	}
	got := stream.CachedInfo().Config
	next := got
	if republish(got) == studiesOnly {
		next.RePublish = want.RePublish
	}
	next.MaxConsumers = max(got.MaxConsumers, want.MaxConsumers)
	if d := differences(next, want); len(d) > 0 {
		return nil, events.Errorf(events.Conflict, "stream %s exists with other settings: %s; "+
			"set them right, or delete the stream: it is filled again from the outbox", want.Name, strings.Join(d, ", "))
	}
	if reflect.DeepEqual(got, next) {
		return stream, nil
	}
	if stream, err = withinAccount(ctx, js, next, js.UpdateStream); err != nil {
		return nil, fmt.Errorf("change stream %s: %w", want.Name, err)
	}
	return stream, nil
}

const studiesOnly = events.PartnerPrefix + "> to " + events.PartnerPrefix + ">"

// withinAccount creates or updates the stream, with as many consumers as the
// account allows where those are fewer than wanted.
func withinAccount(
	ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig,
	put func(context.Context, jetstream.StreamConfig) (jetstream.Stream, error),
) (jetstream.Stream, error) {
	stream, err := put(ctx, want)
	var refused *jetstream.APIError
	if !errors.As(err, &refused) || refused.ErrorCode != jetstream.JSErrCodeMaximumConsumersLimit {
		return stream, err
	}
	account, accountErr := js.AccountInfo(ctx)
	if accountErr != nil {
		return nil, errors.Join(err, fmt.Errorf("ask how many consumers the account allows: %w", accountErr))
	}
	want.MaxConsumers = account.Limits.MaxConsumers
	if tier, ok := account.Tiers[fmt.Sprintf("R%d", want.Replicas)]; ok {
		want.MaxConsumers = tier.Limits.MaxConsumers
	}
	if stream, err = js.Stream(ctx, want.Name); err == nil && stream.CachedInfo().Config.MaxConsumers == want.MaxConsumers {
		return stream, nil
	}
	return put(ctx, want)
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
