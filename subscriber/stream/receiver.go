package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// How much is requested from the broker at a time. It is not more because the broker
// stores nothing while it answers a request.
const (
	requestMessages = 500
	requestBytes    = 8 << 20
)

// received is a message that was checked. Pending is how many messages the stream had
// behind it when it was sent.
type received struct {
	Message
	pending uint64
}

// receiver gets messages from the broker and checks them, while others are being
// applied. It gets them by stream sequence, so that the broker keeps nothing about it.
type receiver struct {
	js       jetstream.JetStream
	stream   string
	timeout  time.Duration // of the wait for the next message of an answer
	poll     time.Duration // between requests while no live message arrives
	live     *live
	position Position                    // of the last message
	heard    Position                    // of the last live message; zero if that is none to continue
	heads    map[string]events.ChainHead // by study key
	max      int                         // messages of a batch
	messages chan received               // closed after the last
	err      error                       // why it was closed

	// One subscription receives all answers. Each request has a reply subject of its own
	// below the inbox.
	inbox    string
	answers  *nats.Subscription
	requests uint64 // so far
}

// newReceiver returns a receiver of the messages behind the stored progress. It changes a
// copy of the chain heads.
func (r *Reader) newReceiver(live *live, stored Progress) *receiver {
	heads := maps.Clone(stored.ChainHeads)
	if heads == nil {
		heads = make(map[string]events.ChainHead)
	}
	return &receiver{
		js: r.js, stream: r.cfg.Stream, timeout: r.cfg.Timeout, poll: r.cfg.Poll, live: live, position: stored.Position, heads: heads,
		max: r.cfg.MaxBatch, messages: make(chan received, r.cfg.MaxBatch),
	}
}

// run receives and checks messages until an error or the end of ctx. It leaves an error
// of receiving or checking in r.err and closes r.messages, so that what was received
// before is applied first. It returns an error only if ctx ends.
func (r *receiver) run(ctx context.Context) error {
	defer close(r.messages)
	r.inbox = r.js.Conn().NewInbox()
	if r.answers, r.err = r.js.Conn().SubscribeSync(r.inbox + ".*"); r.err != nil {
		r.err = outage{fmt.Errorf("subscribe to answers: %w", r.err)}
		return nil
	}
	defer func() { _ = r.answers.Unsubscribe() }() // the connection may be closed
	r.err = r.receive(ctx)
	return ctx.Err()
}

// receive requests what the stream has, and then passes on the live messages that continue
// it. At each poll, and where a live message does not continue what was read, it requests
// messages again.
func (r *receiver) receive(ctx context.Context) error {
	var lag time.Duration // waited last for a server that lacks what was announced
	for {
		before := r.position.StreamSequence
		pending, err := r.get(ctx)
		if err != nil {
			return err
		}
		wait := r.poll
		switch progress := r.position.StreamSequence > before; {
		case progress && (pending > 0 || r.announced()):
			lag = 0
			continue
		case r.announced(): // a replica answers that has not stored it yet
			lag = min(max(2*lag, time.Millisecond), r.poll)
			wait = lag
		default:
			lag = 0
		}
		if err := r.followFor(ctx, wait); err != nil {
			return err
		}
	}
}

// followFor passes on live messages for the time, or until one does not continue what was
// read.
func (r *receiver) followFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		case m := <-r.live.messages:
			if continued, err := r.follow(ctx, m); !continued || err != nil {
				return err
			}
		}
	}
}

// follow passes on a live message if it is the next one, and the live message before it is
// the one at the position. Otherwise messages may have been lost, or the stream replaced,
// and the result is false: messages have to be requested. The same holds for a live message
// that does not pass the checks, because only what is stored counts.
func (r *receiver) follow(ctx context.Context, m liveMessage) (continued bool, err error) {
	switch next := r.position.StreamSequence + 1; {
	case m.sequence == next && r.heard.Same(r.position):
		checked, err := r.check(m.Msg, place{sequence: m.sequence})
		if err != nil {
			r.heard = Position{}
			return false, nil
		}
		r.heard = r.position
		return true, r.pass(ctx, checked)
	case m.sequence+1 < next: // was requested before it arrived
		r.heard = Position{}
		return true, nil
	}
	r.heard = m.positionIn(r.position)
	return r.heard.Same(r.position), nil
}

// pass passes on a message.
func (r *receiver) pass(ctx context.Context, m received) error {
	select {
	case r.messages <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// announced reports whether a live message was behind the position.
func (r *receiver) announced() bool { return r.live.announced.Load() > r.position.StreamSequence }

// errSilent is the cause of an outage in which the broker does not answer.
var errSilent = errors.New("the broker has not answered in time")

// get requests the messages behind the position, and passes on those that it gets.
// Pending is how many more the stream has. There may be none yet.
//
// The request begins with the message at the position. The whole answer comes from one
// stream. So if that message is the one that was read before, those behind it are
// from the same stream. If it is another one, that is an outage: before reading goes on,
// the stream is compared.
func (r *receiver) get(ctx context.Context) (pending uint64, err error) {
	waiting, cancel := context.WithCancelCause(ctx) // for messages; what was received is passed on even if it was late
	defer cancel(nil)
	timer := time.AfterFunc(r.timeout, func() { cancel(errSilent) })
	defer timer.Stop()
	from := max(r.position.StreamSequence, 1)
	reply, err := r.request(from)
	if err != nil {
		return 0, outage{fmt.Errorf("request messages from %d: %w", from, err)}
	}
	again := r.position.StreamSequence > 0 // whether the next message is the one at the position
	var last uint64                        // sequence of the last message of the answer
	for ; ; timer.Reset(r.timeout) {
		msg, err := r.next(waiting, reply)
		if err != nil {
			return 0, outage{fmt.Errorf("wait for messages from %d: %w", from, errors.Join(err, context.Cause(waiting)))}
		}
		timer.Stop() // messages may wait long to be applied
		if done, err := endOfAnswer(msg); done {
			if err != nil {
				err = outage{fmt.Errorf("get messages from %d: %w", from, err)}
			}
			return pending, err
		}
		place, err := placeOf(msg, last)
		if err != nil {
			return 0, outage{err}
		}
		last = place.sequence
		if again {
			if again = false; place.sequence != r.position.StreamSequence {
				return 0, outage{fmt.Errorf("the broker returned message %d instead of %d, which was read before", place.sequence, r.position.StreamSequence)}
			}
			if err := r.position.compareEvent(msg.Header, msg.Data); err != nil {
				return 0, outage{err}
			}
			continue
		}
		m, err := r.check(msg, place)
		if err != nil {
			return 0, err
		}
		pending = m.pending
		if err := r.pass(ctx, m); err != nil {
			return 0, err
		}
	}
}

// request requests a batch of messages and returns the subject of the answer.
func (r *receiver) request(from uint64) (reply string, err error) {
	r.requests++
	reply = fmt.Sprintf("%s.%d", r.inbox, r.requests)
	body := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, from, requestMessages, requestBytes)
	return reply, r.js.Conn().PublishRequest("$JS.API.DIRECT.GET."+r.stream, reply, body)
}

// next returns the next message of the answer with the subject reply. It passes over messages
// to other subjects of the inbox, which somebody else sent.
func (r *receiver) next(ctx context.Context, reply string) (*nats.Msg, error) {
	for {
		msg, err := r.answers.NextMsgWithContext(ctx)
		if err != nil || msg.Subject == reply {
			return msg, err
		}
	}
}

// endOfAnswer reports whether nothing follows. The error is that of the broker.
func endOfAnswer(msg *nats.Msg) (bool, error) {
	const (
		endOfBatch = "204"
		none       = "404"
		nobody     = "503"
	)
	status := msg.Header.Get("Status")
	if len(msg.Data) > 0 || status == "" {
		return false, nil
	}
	switch status {
	case endOfBatch, none:
		return true, nil
	case nobody:
		return true, nats.ErrNoResponders
	}
	return true, fmt.Errorf("%s %s", status, msg.Header.Get("Description"))
}

// place is where the broker found a message.
type place struct {
	sequence uint64 // in the stream
	pending  uint64 // how many messages the stream has behind it
}

// placeOf returns the place of a message of an answer. It is an error if it does not
// follow the message of the answer with the sequence last, because one was lost on the way.
func placeOf(msg *nats.Msg, last uint64) (p place, err error) {
	number := func(name string) uint64 {
		n, e := strconv.ParseUint(msg.Header.Get(name), 10, 64)
		if e != nil {
			err = fmt.Errorf("read header %s of a message: %w", name, e)
		}
		return n
	}
	p = place{sequence: number(jetstream.SequenceHeader), pending: number(pendingHeader)}
	if before := number(lastSequenceHeader); err == nil && before != last {
		err = fmt.Errorf("messages after %d to %d of an answer were lost", last, before)
	}
	return p, err
}

// check verifies that the message is the next one of the stream and of its study. A
// message of the stream that is missing is a Gap.
func (r *receiver) check(msg *nats.Msg, p place) (received, error) {
	next := r.position.StreamSequence + 1
	if p.sequence != next {
		return received{}, events.Errorf(events.Gap, "the stream continues with message %d instead of %d", p.sequence, next)
	}
	e, err := events.FromHeader(msg.Header, msg.Data)
	if err != nil {
		return received{}, fmt.Errorf("read message %d: %w", next, err)
	}
	head, err := r.heads[e.Study].Follow(e)
	if err != nil {
		return received{}, fmt.Errorf("check message %d: %w", next, err)
	}
	r.heads[e.Study] = head
	m := Message{StreamSequence: next, Event: e}
	r.position = r.position.after(m)
	return received{Message: m, pending: p.pending}, nil
}

// batch returns a Batch of m and the messages that were received behind it already, up
// to r.max in all.
func (r *receiver) batch(after Position, m received) Batch {
	b := Batch{After: after, Messages: make([]Message, 0, min(r.max, 1+len(r.messages)))}
	for {
		b.Messages = append(b.Messages, m.Message)
		b.Position, b.Pending = after.after(m.Message), m.pending
		if len(b.Messages) == cap(b.Messages) {
			return b
		}
		m = <-r.messages // never blocks: len counted it, and this is the only receiver
	}
}
