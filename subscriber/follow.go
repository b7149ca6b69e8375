package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
)

// Follow delivers the events of a study to f, starting behind its Bookmark,
// until ctx ends, and then returns nil. It waits through outages.
//
// It returns an error with the code events.Gap, events.Repeat, events.Reorder,
// events.Altered or events.Invalid when the events are not those that belong
// there; with events.Ahead when the log has ended before the Bookmark for five
// seconds; ErrAccessEnded when the study is not granted; ErrClosed after Close;
// and any error that f returns. Called again, it continues behind the Bookmark. A
// study can be followed once at a time, and 60 studies over one connection;
// otherwise the code is events.Conflict.
func (p *Partner) Follow(ctx context.Context, study string, f Follower) error {
	if err := events.ValidStudy(study); err != nil {
		return err
	}
	return p.follow(ctx, p.topic(study), f, false)
}

// CatchUp is like Follow, but returns nil as soon as all events of the study that
// the publisher has are handled and acknowledged, according to the broker.
func (p *Partner) CatchUp(ctx context.Context, study string, f Follower) error {
	if err := events.ValidStudy(study); err != nil {
		return err
	}
	return p.follow(ctx, p.topic(study), f, true)
}

// FollowAccess delivers the announcements of what is granted to the partner
// and what is revoked, like Follow; see Delivery.Grant. Their Study is
// events.PartnerStudy of the partner's id.
func (p *Partner) FollowAccess(ctx context.Context, f Follower) error {
	own := events.PartnerStudy(p.id)
	return p.follow(ctx, topic{study: own, studyKey: own, durable: events.PartnerAccess(p.id)}, f, false)
}

// topic is what one durable consumer delivers.
type topic struct {
	study    string // as the caller names it
	studyKey string
	durable  string // the consumer's name
}

// topic returns the topic of a study.
func (p *Partner) topic(study string) topic {
	key := events.StudyKey(study)
	return topic{study: study, studyKey: key, durable: events.PartnerConsumer(p.id, key)}
}

// following is one call of Follow.
type following struct {
	topic
	p            *Partner
	follower     Follower
	toTheEnd     bool // return once all events are handled, as CatchUp does
	consumer     consumer
	status       chan nats.Status
	refusedSince time.Time // when the consumer was first refused; zero while it is permitted

	order    *order // kept when the connection is lost
	inOutage bool   // an outage was reported and not yet its end
}

// follow implements Follow, CatchUp and FollowAccess. With toTheEnd it returns as
// CatchUp does.
func (p *Partner) follow(ctx context.Context, t topic, follower Follower, toTheEnd bool) error {
	release, err := p.claim(t)
	if err != nil {
		return err
	}
	defer release()
	refusals, stop := p.watch(t.durable)
	defer stop()
	status := p.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer p.nc.RemoveStatusListener(status)
	f := &following{
		topic: t, p: p, follower: follower, toTheEnd: toTheEnd, status: status,
		consumer: consumer{p: p, js: p.js, name: t.durable, refusals: refusals},
	}
	return f.run(ctx)
}

// maxFollowed is how many studies are followed over a connection at a time: each
// uses one of the subscriptions that a connection may have, and others are needed.
const maxFollowed = events.PartnerSubscriptions - 4

// claim ensures that a study is followed once at a time, and at most maxFollowed are.
func (p *Partner) claim(t topic) (release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.followed[t.durable] {
		return nil, events.Errorf(events.Conflict, "study %s is being followed already; end that call first", t.study)
	}
	if len(p.followed) >= maxFollowed {
		return nil, events.Errorf(events.Conflict, "one connection can follow %d studies; call Dial again and follow %s over that connection", maxFollowed, t.study)
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

// pullHeartbeat is how often the broker must send a heartbeat. It is short because
// a request that is lost with a connection is repeated only when it is missed.
const pullHeartbeat = 2 * time.Second

// pullExpiry is how long a request for events stays at the broker, and so for
// how long it may be answered after its connection was lost.
const pullExpiry = 10 * time.Second

// run begins sessions until one ends with an error that waiting does not help.
func (f *following) run(ctx context.Context) error {
	defer f.returnUnacknowledged()
	caughtUp := false
	loop := retry.Loop{Longest: longestWait, Wait: f.pause, Failed: func(err error) {
		if !errors.Is(err, nats.ErrPermissionViolation) { // not an outage: confirm renews the login or ends access
			f.report(err)
		}
	}}
	err := loop.Run(ctx, func(ctx context.Context, begun func()) error {
		err := f.session(ctx, begun)
		// After ErrMoved the new Bookmark can be read at once.
		for errors.Is(err, ErrMoved) && ctx.Err() == nil && f.p.life.Err() == nil {
			err = f.session(ctx, begun)
		}
		var unreachable outage
		switch {
		case errors.Is(err, errCaughtUp):
			caughtUp = true
			return nil
		case ctx.Err() != nil:
			return nil
		case f.p.life.Err() != nil:
			return retry.Stop(context.Cause(f.p.life))
		case errors.As(err, new(refusal)):
			if err := f.confirm(ctx, err); err != nil {
				return retry.Stop(err)
			} // else access has not ended, or not yet: try again
		case !errors.As(err, &unreachable):
			return retry.Stop(err)
		}
		return err
	})
	if err == nil && f.toTheEnd && !caughtUp { // ctx ended before
		return context.Cause(ctx)
	}
	return err
}

// report reports an outage. With nil it reports the end of the outage, if one was
// reported before.
func (f *following) report(cause error) {
	if cause != nil || f.inOutage {
		f.p.cfg.Outage(cause)
	}
	f.inOutage = cause != nil
}

// pause waits for d. It ends earlier if ctx or the Partner ends, or the connection is
// established again.
func (f *following) pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(f.p.life, cancel)
	defer stop()
	retry.SleepUntil(ctx, d, f.status, nats.CONNECTED)
}

// session follows from the stored Bookmark until something interrupts it.
//
// If the connection was lost, f.order is kept, and with it the early events: they can
// be acknowledged over the next connection. After any other end the messages in
// it are returned to the broker, and the next session begins with a new order.
func (f *following) session(ctx context.Context, begun func()) error {
	stored, err := f.follower.Resume(ctx, f.study)
	if err != nil {
		return fmt.Errorf("resume study %s: %w", f.study, err)
	}
	if err := stored.validate(); err != nil {
		return fmt.Errorf("resume study %s: %w", f.study, err)
	}
	if f.order == nil || f.order.stored != stored { // a first session, or another process has moved the Bookmark
		f.returnUnacknowledged()
		f.order = newOrder(f.studyKey, stored)
	}
	from, err := f.consumer.open(ctx)
	if err != nil {
		return err
	}
	f.order.beginSession(from.CachedInfo().Config.MaxAckPending)
	messages, err := from.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(f.p.cfg.Prefetch, requestBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return outage{fmt.Errorf("read study %s: %w", f.study, err)}
	}
	f.refusedSince = time.Time{}
	f.discardStatus()
	begun()
	f.report(nil)

	in := newReceiver(f.p.nc, messages, f.p.cfg.Prefetch)
	err = f.loop(ctx, in, from)
	if errors.Is(err, errInterrupted) {
		in.cancel() // it has nothing left
		return err
	}
	in.close(f.order.unacknowledged(), func(ctx context.Context) (int, error) {
		if !f.p.nc.IsConnected() {
			return 0, nats.ErrDisconnected
		}
		info, err := f.consumer.info(ctx, from)
		if err != nil {
			return 0, err
		}
		return info.NumAckPending, nil
	})
	f.order = nil
	return err
}

// discardStatus discards the changes of the connection that were before this session.
func (f *following) discardStatus() {
	for {
		select {
		case <-f.status:
		default:
			return
		}
	}
}

// returnUnacknowledged has the broker deliver again the messages that are kept in
// f.order, and drops the order.
func (f *following) returnUnacknowledged() {
	if f.order == nil {
		return
	}
	for _, msg := range f.order.unacknowledged() {
		_ = msg.Nak()
	}
	f.order = nil
}
