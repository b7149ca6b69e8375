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

// Errors after which the broker has certainly stored nothing of the message or batch.
var (
	errTooLarge   = errors.New("the broker takes no message of this size")
	errIncomplete = errors.New("the broker refused the batch") // because not all of it arrived
)

// Error codes of the broker.
const (
	codeTooLarge    jetstream.ErrorCode = 10054 // a message over the stream's limit
	codeNoResources jetstream.ErrorCode = 10023 // the broker's disk is full, or was at some time since it started
)

// headerRoom is more bytes than a message needs for headers that are not the event's
// own: message id, expected stream and sequence, batch.
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

// send stores entries directly after stream sequence last. It sends Config.MinBatch
// entries or more as one atomic batch, fewer as plain messages one after the other. It
// returns nil only if the broker acknowledged exactly that. After errIncomplete
// certainly nothing was stored. After errTooLarge the entry that is too large was not
// stored, but plain messages before it were. After any other error it is unknown what
// was stored.
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

// sendExpecting calls send and returns nil only if the broker acknowledged a new message
// at sequence want. It sends even if ctx has ended, and waits for the answer, so that a
// stop of the program does not leave it unknown whether a message was stored.
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

// sendOne sends a plain message. The size limit that the connection knows may be that
// of a broker to which it was connected before. So for a message above the limit it
// first waits for an answer of the present broker, with which the limit is up to date.
func (r *Relay) sendOne(ctx context.Context, last uint64, e events.Event) (ack, error) {
	if size(e) > int(r.nc.MaxPayload()) {
		if err := r.nc.FlushWithContext(ctx); err != nil {
			return ack{}, fmt.Errorf("reach the broker: %w", err)
		}
	}
	r.step(StepCommit)
	return r.request(ctx, expect(message(e), last))
}

// sendBatch sends an atomic batch of two entries or more. The broker stores nothing of it
// until the last message, which commits the batch. sendBatch waits for the answer to the
// first message, for two reasons: only that answer has the reason if the batch cannot be
// opened; and a batch that is opened but never committed takes one of the few open
// batches that the broker allows, until the broker drops it.
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

// commit sends the last message of a batch of count messages. It returns nil only if the
// broker acknowledged the whole batch.
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

// request sends a message and reads the answer. The answer to the first message of a
// batch is empty: then it returns the zero ack.
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

// refusal wraps the error of a publish. It adds errTooLarge or errIncomplete if the
// broker has certainly stored nothing; after any other error that is unknown. A timeout
// may mean a full disk: a broker whose disk was full may never answer again.
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

// message returns the event as the message that is sent.
func message(e events.Event) *nats.Msg {
	h := nats.Header(e.Header())
	h[jetstream.MsgIDHeader] = []string{e.ID}
	return &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: h, Data: e.Data}
}

// expect sets headers in the message, so that the broker refuses it unless the stream ends
// at sequence last. It returns the message.
func expect(msg *nats.Msg, last uint64) *nats.Msg {
	msg.Header[jetstream.ExpectedStreamHeader] = []string{events.Stream}
	msg.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(last, 10)}
	return msg
}

// size returns an upper bound of the size of the event's message, in bytes, as the broker
// measures it.
func size(e events.Event) int {
	n := headerRoom + len(e.Data)
	for _, text := range []string{e.ID, e.ID, e.Source, e.Type, e.Subject, e.DataContentType, e.Study,
		e.PartitionKey, e.PreviousHash, e.Hash, e.TraceParent} {
		n += len(text)
	}
	return n
}
