package callout

import (
	"context"
	"encoding/json"
	"errors"
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

	// latestFor is how long a directory is taken for the latest without another request to
	// the server. It bounds what many logins cost the server.
	latestFor = 250 * time.Millisecond

	// latestWait is how long ensureLatest waits. Most clients wait 2 s for an answer to
	// their login.
	latestWait = 1500 * time.Millisecond
)

// Standalone answers logins in a process of its own. The service that keeps accounts and
// consumers runs elsewhere on the same log. It closes connections that were opened with more
// than is granted.
//
// A directory is the latest if it reflects all that the stream holds at the time of the
// login, to within latestFor. A Standalone answers only by the latest directory. It does not
// answer while the stream is being filled again, because the beginning of the stream grants
// what was revoked later. Nor does it answer if it cannot find out, or if the directory has
// met an event that only a newer version of the program understands. It does not refuse
// then: another callout may answer, and clients try again, whereas two refusals would make
// them close for good.
type Standalone struct {
	answerer
	service *nats.Conn
	js      jetstream.JetStream
	status  readiness

	mu          sync.Mutex
	latestUntil time.Time // until then the directory is taken for the latest
}

// NewStandalone returns a Standalone that answers logins on the first connection, in the role
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

// Run answers logins until ctx ends, and returns nil then. When the directory changes and
// every Config.Interval, it checks that the directory is the latest. If that is not so or not
// known, it stops answering, and tries again. It also receives suspensions.
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
			err := s.ensureLatest(ctx)
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

// wait waits until d has passed, the directory changes or ctx ends.
func (s *Standalone) wait(ctx context.Context, d time.Duration) {
	retry.SleepUntil(ctx, d, s.directory.Changed(), struct{}{})
}

// Status returns the present status.
func (s *Standalone) Status() Status { return s.status.get() }

// ensureLatest waits until the directory reflects all that the stream holds. It returns an
// error if that takes longer than latestWait, or if only a newer version of the program
// understands the directory. For latestFor after a success it does not ask the server again.
// Logins that call it meanwhile wait for one another, so that one request serves all.
func (s *Standalone) ensureLatest(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.cfg.Clock()
	if asked.Before(s.latestUntil) {
		return s.usable()
	}
	ctx, cancel := context.WithTimeout(ctx, latestWait)
	defer cancel()
	if err := CatchUp(ctx, s.js, s.directory); err != nil {
		return err
	}
	s.latestUntil = asked.Add(latestFor)
	return s.usable()
}

// usable returns why logins may not be answered by the directory, although it is the latest.
func (s *Standalone) usable() error {
	return errors.Join(s.directory.Withheld(), s.directory.Directory().Current())
}

// CatchUp waits until the directory reflects all that the stream holds now: an older one has
// grants that were withdrawn since. While the stream is being filled again, it returns an
// error: the beginning of the stream grants what was revoked later, and consumers that start
// after its end cannot be created.
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

// receiveSuspensions stores which partners an Enforcer elsewhere has suspended, and until
// when. Partners cannot publish such messages: the subject is in the service's account.
func (s *Standalone) receiveSuspensions(m *nats.Msg) {
	var until map[string]time.Time
	if err := json.Unmarshal(m.Data, &until); err != nil {
		s.cfg.Log.Warn("the suspensions of another callout cannot be read", "error", err)
		return
	}
	s.quotas.suspend(until)
}

// hold makes sure that a login is answered by the latest directory. There is nothing to
// release.
func (s *Standalone) hold(ctx context.Context) (release func(), err error) {
	return func() {}, s.ensureLatest(ctx)
}

// admittedKeys returns the keys of all studies granted to the partner. A consumer may not exist
// yet: the client waits for it.
func (s *Standalone) admittedKeys(p tenancy.Partner) ([]string, bool) { return p.Keys, true }
