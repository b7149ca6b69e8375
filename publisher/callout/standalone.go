package callout

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const (
	longestRetry = 2 * time.Second

	// latestFor is how long a directory counts as the latest once it was found to be. It
	// bounds what many logins cost the server.
	latestFor = 250 * time.Millisecond

	// latestWait is for the server to return the stream's end, and for the directory to
	// reach it; most clients wait 2 s for an answer to their login.
	latestWait = 1500 * time.Millisecond
)

// Standalone answers logins without a service that keeps accounts and consumers in the
// same process: that service runs elsewhere on the same log, and closes connections that
// were opened with more than is granted.
//
// It answers only by a directory that reflects all that the stream holds at the time of
// the login, and only while the stream is not being filled again: its beginning grants
// what was revoked later. While that is not so, or cannot be found out, or only a newer
// version knows the grants, it does not answer at all: another callout may, and clients
// try again, whereas two refusals would make them close for good.
type Standalone struct {
	answerer
	service *nats.Conn
	js      jetstream.JetStream
	status  readiness

	mu          sync.Mutex
	latestUntil time.Time // the directory counts as the latest
}

// NewStandalone returns one that answers logins on the first connection, in the role
// Callout. The second, in the role Partners, looks up the stream and receives suspensions.
func NewStandalone(logins, service *nats.Conn, directory DirectorySource, answers *operator.Answers, cfg Config) (*Standalone, error) {
	js, err := jetstream.New(service)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	s := &Standalone{service: service, js: js}
	s.init(logins, directory, s, answers, cfg)
	s.status.init()
	return s, nil
}

// Run answers logins until ctx ends, and returns nil then.
func (s *Standalone) Run(ctx context.Context) error {
	defer s.status.set(errStopped)
	suspensions, err := s.service.Subscribe(tenancy.SuspensionSubject, s.receiveSuspensions)
	if err != nil {
		return fmt.Errorf("subscribe to suspensions: %w", err)
	}
	defer suspensions.Unsubscribe() //nolint:errcheck // the connection may be closed already
	defer s.Stop()
	loop := retry.Loop{Longest: longestRetry, Wait: s.wait, Failed: func(err error) {
		s.status.retries.Inc()
		if s.status.set(err) {
			s.cfg.Log.Warn("logins are not answered; trying again", "cause", err)
		}
	}}
	return loop.Run(ctx, func(ctx context.Context, succeeded func()) error {
		for ctx.Err() == nil {
			err := s.latest(ctx)
			if err != nil {
				s.Stop()
			} else {
				err = s.Start()
			}
			if err != nil || ctx.Err() != nil {
				return err
			}
			succeeded()
			s.status.set(nil)
			s.wait(ctx, s.cfg.Interval)
		}
		return nil
	})
}

// wait returns when the directory changes, after d at the latest.
func (s *Standalone) wait(ctx context.Context, d time.Duration) {
	retry.SleepUntil(ctx, d, s.directory.Changed(), struct{}{})
}

// Status returns the present status.
func (s *Standalone) Status() Status { return s.status.get() }

// latest returns nil once the directory reflects all that the stream holds, and this
// version understands it.
func (s *Standalone) latest(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.cfg.Clock()
	if asked.Before(s.latestUntil) {
		return s.directory.Directory().Current()
	}
	ctx, cancel := context.WithTimeout(ctx, latestWait)
	defer cancel()
	if err := CatchUp(ctx, s.js, s.directory); err != nil {
		return err
	}
	s.latestUntil = asked.Add(latestFor)
	return s.directory.Directory().Current()
}

// CatchUp waits until the directory reflects all that the stream holds: an older one has
// grants that were withdrawn since. While the stream is being filled again it returns an
// error: its beginning grants what was revoked later, and consumers behind its end cannot
// be created.
func CatchUp(ctx context.Context, js jetstream.JetStream, directory DirectorySource) error {
	stream, err := js.Stream(ctx, events.Stream)
	if err != nil {
		return fmt.Errorf("look up the stream: %w", err)
	}
	info := stream.CachedInfo()
	last := info.State.LastSeq
	if end := events.StreamEnd(info.Config.Metadata, last); end > last {
		return events.Errorf(events.Unavailable, "the stream is being filled again: it holds %d of %d events", last, end)
	}
	if err := directory.WaitFor(ctx, last); err != nil {
		return fmt.Errorf("wait until the directory reflects the stream up to sequence %d: %w", last, err)
	}
	return nil
}

// receiveSuspensions takes over which partners an Enforcer elsewhere has suspended, and
// until when. Only a service may publish them.
func (s *Standalone) receiveSuspensions(m *nats.Msg) {
	var until map[string]time.Time
	if err := json.Unmarshal(m.Data, &until); err != nil {
		s.cfg.Log.Warn("the suspensions of another callout cannot be read", "error", err)
		return
	}
	s.quotas.suspend(until)
}

func (s *Standalone) hold(ctx context.Context) (release func(), err error) {
	return func() {}, s.latest(ctx)
}

// admittedKeys are all that is granted: a client waits for a consumer that is not there yet.
func (s *Standalone) admittedKeys(p tenancy.Partner) ([]string, bool) { return p.Keys, true }
