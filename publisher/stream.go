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

	// MaxConsumers is how many consumers the stream may have, those of partners and
	// others together. It is not lowered on an existing stream. Defaults to 5,100.
	MaxConsumers int

	// RefillTo is the outbox's highest stream sequence. A stream that is created is
	// marked with it by the same request. So readers without an outbox at no moment
	// take it for complete; see events.RefillKey. Zero: nothing was published yet, and
	// a new stream has no mark.
	RefillTo uint64
}

// defaultMaxConsumers is set because nats-server assumes 1,000 consumers for a stream
// without a limit.
const defaultMaxConsumers = 5100

// duplicates is the duplicate window: how long the broker remembers message ids. It is
// the shortest that the broker accepts, because nothing relies on it and each remembered
// id costs memory.
const duplicates = 100 * time.Millisecond

// stream returns the settings of the stream.
func (c StreamConfig) stream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        events.Stream,
		Metadata:    refillMark(nil, c.RefillTo),
		Description: "sign-off events; written by the publisher only",
		Subjects:    []string{events.IngestWildcard},
		// Messages are stored under other subjects than they are published to, and
		// republished to core subscribers only once they are stored. Subscribers to
		// the published subjects would see messages of batches that are never
		// committed. Who receives which messages is up to accounts and permissions:
		// partners receive what is exported to them.
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

// EnsureStream returns the stream and creates it if it does not exist. If it exists with
// other settings, it is not changed, and the error is a Conflict that names them. Two
// settings are changed all the same. A stream that republishes only the events of
// studies, as earlier versions made it, is changed to republish all. A lower limit of
// consumers is raised to the one configured, or to what the account allows.
func EnsureStream(ctx context.Context, js jetstream.JetStream, cfg StreamConfig) (jetstream.Stream, error) {
	return ensureStream(ctx, js, cfg, func() error { return nil })
}

// ensureStream is EnsureStream, except that it creates a missing stream only if mayCreate
// returns nil, and returns its error otherwise.
func ensureStream(ctx context.Context, js jetstream.JetStream, cfg StreamConfig, mayCreate func() error) (jetstream.Stream, error) {
	want := cfg.stream()
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = mayCreate(); err == nil {
			stream, err = withinAccount(ctx, js, want, js.CreateStream)
		}
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

// studiesOnly is the text of republish for a stream that earlier versions made.
const studiesOnly = events.PartnerPrefix + "> to " + events.PartnerPrefix + ">"

// withinAccount creates or updates the stream by put. If the account allows fewer
// consumers than wanted, the stream gets as many as the account allows.
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
	// An account may have limits for each number of replicas, called tiers.
	if tier, ok := account.Tiers[fmt.Sprintf("R%d", want.Replicas)]; ok {
		want.MaxConsumers = tier.Limits.MaxConsumers
	}
	// Do not update a stream at each start that has the account's limit already.
	if stream, err = js.Stream(ctx, want.Name); err == nil && stream.CachedInfo().Config.MaxConsumers == want.MaxConsumers {
		return stream, nil
	}
	return put(ctx, want)
}

// differences names the settings in which got differs from want. It looks only at settings
// that decide what is stored, for how long, and how safely. A limit on the size of a
// message is not among them: the study of an event that exceeds it is parked, and the
// status of the program shows that.
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

// transform describes the subject transform of the settings.
func transform(c jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return c.SubjectTransform.Source + " to " + c.SubjectTransform.Destination
}

// republish describes what the settings republish.
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
