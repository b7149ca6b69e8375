package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// Follow hands the events of a study over to f, from behind its Bookmark on,
// until ctx ends, and then returns nil. Through outages it waits.
//
// It returns an error with the code events.Gap, events.Repeat, events.Reorder,
// events.Altered or events.Invalid when the events are not those that belong
// there; with events.Ahead when the log has ended before the Bookmark for five
// seconds; ErrAccessEnded when the study is not granted; ErrClosed after Close;
// and whatever f returns. Called again, it goes on from the Bookmark. A study
// can be followed once at a time, and 60 studies over one connection; events.Conflict is
// the code of one too many.
func (p *Partner) Follow(ctx context.Context, study string, f Follower) error {
	if err := events.ValidStudy(study); err != nil {
		return err
	}
	return p.follow(ctx, p.topic(study), f, false)
}

// CatchUp is Follow that returns nil as soon as all events of the study that
// the publisher has are handled and acknowledged: the broker says so.
func (p *Partner) CatchUp(ctx context.Context, study string, f Follower) error {
	if err := events.ValidStudy(study); err != nil {
		return err
	}
	return p.follow(ctx, p.topic(study), f, true)
}

// FollowAccess hands over the announcements of what is granted to the partner
// and what is revoked, like Follow; see Delivery.Grant. Their Study is
// events.PartnerStudy of the partner's id.
func (p *Partner) FollowAccess(ctx context.Context, f Follower) error {
	own := events.PartnerStudy(p.id)
	return p.follow(ctx, topic{study: own, token: own, durable: events.PartnerAccess(p.id)}, f, false)
}

// topic is what one durable consumer delivers.
type topic struct {
	study   string // as the caller calls it
	token   string
	durable string // the consumer's name
}

func (p *Partner) topic(study string) topic {
	token := events.StudyKey(study)
	return topic{study: study, token: token, durable: events.PartnerConsumer(p.id, token)}
}

// following is one call of Follow.
type following struct {
	topic
	p        *Partner
	follower Follower
	toTheEnd bool // and not beyond
	consumer consumer
	status   chan nats.Status
	denied   time.Time // when it was refused first; zero while it is permitted

	order *order // kept when the connection is lost
	out   bool   // an outage was reported and not yet its end
}

func (p *Partner) follow(ctx context.Context, t topic, f Follower, toTheEnd bool) error {
	release, err := p.claim(t)
	if err != nil {
		return err
	}
	defer release()
	refusals, stop := p.watch(t.durable)
	defer stop()
	status := p.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer p.nc.RemoveStatusListener(status)
	w := &following{
		topic: t, p: p, follower: f, toTheEnd: toTheEnd, status: status,
		consumer: consumer{p: p, js: p.js, name: t.durable, refusals: refusals},
	}
	return w.run(ctx)
}

// mostFollowed is how many studies are followed over a connection at a time: each takes
// one of the subscriptions that it may have, and there are others than these.
const mostFollowed = events.PartnerSubscriptions - 4

// claim makes sure that a study is followed once at a time, and not too many are.
func (p *Partner) claim(t topic) (release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.followed[t.durable] {
		return nil, events.Errorf(events.Conflict, "study %s is being followed already", t.study)
	}
	if len(p.followed) >= mostFollowed {
		return nil, events.Errorf(events.Conflict, "one connection has room for %d studies; follow %s over another one that Dial makes", mostFollowed, t.study)
	}
	p.followed[t.durable] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.followed, t.durable)
	}, nil
}

// requestBytes bounds what is requested from the broker at a time.
const requestBytes = 32 << 20

// pulse is how often the broker must show a sign of life. It is short because
// a request that is lost when the connection is, is asked again only then.
const pulse = 2 * time.Second

// pullExpiry is how long a request for events stays at the broker, and so for
// how long it may be answered after its connection is gone.
const pullExpiry = 10 * time.Second

// run begins sessions until one ends for good.
func (w *following) run(ctx context.Context) error {
	defer w.giveBack()
	wait := newBackoff()
	for {
		err := w.session(ctx, wait.Reset)
		var away outage
		switch {
		case errors.Is(err, errQuiet):
			return nil
		case ctx.Err() != nil && w.toTheEnd:
			return context.Cause(ctx)
		case ctx.Err() != nil:
			return nil
		case w.p.life.Err() != nil:
			return context.Cause(w.p.life)
		case errors.Is(err, ErrMoved):
			continue
		case errors.As(err, new(refusal)):
			if err := w.confirm(ctx, err); err != nil {
				return err
			}
		case !errors.As(err, &away):
			return err
		}
		if !errors.Is(err, nats.ErrPermissionViolation) { // that is no outage, and settled in a moment
			w.report(err)
		}
		w.pause(ctx, wait.NextBackOff())
	}
}

// report tells of an outage and, with nil, of its end.
func (w *following) report(cause error) {
	if cause != nil || w.out {
		w.p.cfg.Outage(cause)
	}
	w.out = cause != nil
}

// pause waits for the time given, or less if the connection comes back.
func (w *following) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.p.life.Done():
			return
		case <-timer.C:
			return
		case status := <-w.status:
			if status == nats.CONNECTED {
				return
			}
		}
	}
}

// session follows from the stored Bookmark until something is in the way.
func (w *following) session(ctx context.Context, begun func()) error {
	held, err := w.follower.Resume(ctx, w.study)
	if err != nil {
		return fmt.Errorf("resume study %s: %w", w.study, err)
	}
	if err := held.validate(); err != nil {
		return fmt.Errorf("resume study %s: %w", w.study, err)
	}
	if w.order == nil || w.order.held != held {
		w.giveBack()
		w.order = newOrder(w.token, held)
	}
	from, err := w.consumer.open(ctx)
	if err != nil {
		return err
	}
	w.order.begin(from.CachedInfo().Config.MaxAckPending)
	messages, err := from.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(w.p.cfg.Prefetch, requestBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pulse))
	if err != nil {
		return outage{fmt.Errorf("read study %s: %w", w.study, err)}
	}
	w.denied = time.Time{}
	w.forgetStatus()
	begun()
	w.report(nil)

	in := newInlet(w.p.nc, messages, w.p.cfg.Prefetch)
	err = w.loop(ctx, in, from)
	if errors.Is(err, errInterrupted) {
		in.cancel() // nothing is left in it, and what waits can still be acknowledged
		return err
	}
	in.close(w.order.unhandled(), w.outstanding(from))
	w.order = nil
	return err
}

// forgetStatus drops what is told of the connection before this session.
func (w *following) forgetStatus() {
	for {
		select {
		case <-w.status:
		default:
			return
		}
	}
}

// giveBack lets what waits be delivered again.
func (w *following) giveBack() {
	if w.order == nil {
		return
	}
	for _, msg := range w.order.unhandled() {
		_ = msg.Nak()
	}
	w.order = nil
}

// outstanding tells how many messages the broker has sent and not seen
// acknowledged.
func (w *following) outstanding(from jetstream.Consumer) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		if !w.p.nc.IsConnected() {
			return 0, nats.ErrDisconnected
		}
		info, err := w.consumer.look(ctx, from)
		if err != nil {
			return 0, err
		}
		return info.NumAckPending, nil
	}
}
