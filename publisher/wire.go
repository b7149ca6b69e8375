package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/seed-e88a4ece/signoff/events"
)

// Refusals after which the broker certainly stored nothing of what was sent.
var (
	errTooLarge   = errors.New("the broker takes no message of this size")
	errIncomplete = errors.New("the broker refused the batch")
)

// Error codes of the broker.
const (
	codeTooLarge    jetstream.ErrorCode = 10054 // a message over the stream's limit
	codeNoResources jetstream.ErrorCode = 10023 // its disk is full, or was since it started
)

// headerRoom is more than the headers of a message need beside the event's
// own: message id, expectations, batch.
const headerRoom = 512

// ack is the broker's answer to a message or to the last one of a batch.
type ack struct {
	Error     *jetstream.APIError `json:"error"`
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Batch     string              `json:"batch"`
	Count     int                 `json:"count"`
}

// send stores entries directly behind stream sequence last: a few as plain
// messages one after the other, from Config.MinBatch on as one atomic batch.
// It returns nil only when the broker acknowledged exactly that. After
// errIncomplete certainly nothing was stored, after errTooLarge nothing of the
// entry that is too large; after any other error it is not known.
func (r *Relay) send(ctx context.Context, last uint64, entries []events.Entry) error {
	if len(entries) >= r.cfg.MinBatch {
		return r.sendExpecting(ctx, last+uint64(len(entries)), func(ctx context.Context) (ack, error) {
			return r.sendBatch(ctx, last, entries)
		})
	}
	for i, e := range entries {
		before := last + uint64(i)
		err := r.sendExpecting(ctx, before+1, func(ctx context.Context) (ack, error) { return r.sendOne(ctx, before, e.Event) })
		if err != nil {
			return err
		}
	}
	return nil
}

// sendExpecting sends, even when ctx has ended, and returns nil only if the answer is that
// the stream now ends at sequence want.
func (r *Relay) sendExpecting(ctx context.Context, want uint64, send func(context.Context) (ack, error)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.AckTimeout)
	defer cancel()
	a, err := send(ctx)
	if err != nil {
		return err
	}
	if a.Stream != events.Stream || a.Sequence != want || a.Duplicate {
		return fmt.Errorf("publish: the broker acknowledged sequence %d of %s (duplicate: %t) instead of %d of %s",
			a.Sequence, a.Stream, a.Duplicate, want, events.Stream)
	}
	return nil
}

// sendOne sends a plain message. The size limit that the connection knows may
// be that of a broker that is away; so one that seems too large waits for an
// answer of the present broker.
func (r *Relay) sendOne(ctx context.Context, last uint64, e events.Event) (ack, error) {
	if size(e) > int(r.nc.MaxPayload()) {
		if err := r.nc.FlushWithContext(ctx); err != nil {
			return ack{}, fmt.Errorf("reach the broker: %w", err)
		}
	}
	r.step(StepCommit)
	return r.request(ctx, expect(message(e), last))
}

// sendBatch sends an atomic batch, of two entries or more: the broker stores nothing until the last
// message, which commits it. It waits for an answer to the first message,
// because only that has the reason why a batch cannot be opened, and because a batch
// that is opened and not committed counts against the broker's limit of open
// batches until it is dropped.
func (r *Relay) sendBatch(ctx context.Context, last uint64, entries []events.Entry) (ack, error) {
	id := nuid.Next()
	member := func(i int) *nats.Msg {
		msg := message(entries[i].Event)
		msg.Header[jetstreamext.BatchIDHeader] = []string{id}
		msg.Header[jetstreamext.BatchSeqHeader] = []string{strconv.Itoa(i + 1)}
		return msg
	}
	r.step(StepOpen)
	if _, err := r.request(ctx, expect(member(0), last)); err != nil { // the expectation is for the whole batch
		return ack{}, err
	}
	end := len(entries) - 1
	for i := 1; i < end; i++ {
		if i == end/2 {
			r.step(StepMiddle)
		}
		if err := r.nc.PublishMsg(member(i)); err != nil {
			return ack{}, refusal("publish in batch", err)
		}
	}
	msg := member(end)
	msg.Header[jetstreamext.BatchCommitHeader] = []string{"1"}
	r.step(StepCommit)
	return r.commit(ctx, msg, id, len(entries))
}

// commit sends the last message of a batch.
func (r *Relay) commit(ctx context.Context, msg *nats.Msg, id string, count int) (ack, error) {
	a, err := r.request(ctx, msg)
	if err != nil {
		return ack{}, err
	}
	if a.Batch != id || a.Count != count {
		return ack{}, fmt.Errorf("publish: the broker acknowledged %d messages of batch %q instead of %d of %q", a.Count, a.Batch, count, id)
	}
	return a, nil
}

// request sends a message and reads the answer. An empty one is the broker's
// for a message within a batch.
func (r *Relay) request(ctx context.Context, msg *nats.Msg) (ack, error) {
	answer, err := r.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return ack{}, refusal("publish", err)
	}
	var a ack
	if len(answer.Data) == 0 {
		return a, nil
	}
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return ack{}, fmt.Errorf("publish: the broker's answer cannot be read: %w", err)
	}
	if a.Error != nil {
		return ack{}, refusal("publish", a.Error)
	}
	return a, nil
}

// refusal wraps the error of a publish, with errTooLarge or errIncomplete where the
// broker has certainly stored nothing of it. After any other error that is unknown. A
// broker whose disk was full may never answer again.
func refusal(verb string, err error) error {
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%s: %w: %w", verb, errTooLarge, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: the broker does not answer: its disk is full, or it is overloaded; free some space and start it again: %w", verb, err)
	case !errors.As(err, &refused):
		return fmt.Errorf("%s: %w", verb, err)
	case refused.ErrorCode == codeTooLarge:
		return fmt.Errorf("%s: %w: %w", verb, errTooLarge, err)
	case refused.ErrorCode == jetstreamext.JSErrCodeBatchPublishIncomplete:
		return fmt.Errorf("%s: %w: %w", verb, errIncomplete, err)
	case refused.ErrorCode == codeNoResources:
		return fmt.Errorf("%s: the broker's disk is full: free some space and start the broker again: %w", verb, err)
	default:
		return fmt.Errorf("%s: %w", verb, err)
	}
}

// message is the event as sent.
func message(e events.Event) *nats.Msg {
	h := nats.Header(e.Header())
	h[jetstream.MsgIDHeader] = []string{e.ID}
	return &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: h, Data: e.Data}
}

// expect has the message refused unless it is stored directly behind last.
func expect(msg *nats.Msg, last uint64) *nats.Msg {
	msg.Header[jetstream.ExpectedStreamHeader] = []string{events.Stream}
	msg.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(last, 10)}
	return msg
}

// size is the most that the broker may count for the event, in bytes.
func size(e events.Event) int {
	n := headerRoom + len(e.Data)
	for _, text := range []string{e.ID, e.ID, e.Source, e.Type, e.Subject, e.DataContentType, e.Study,
		e.PartitionKey, e.PreviousHash, e.Hash, e.TraceParent} {
		n += len(text)
	}
	return n
}
