// Package partnerlimit bounds how many requests of a partner run at a time, so that one
// partner cannot slow the others. Further requests of the partner wait for a bounded time
// in the order in which they came, and those beyond a bounded number do not wait at all.
// Requests of one partner never wait for those of another. The package does not know what
// a request does, and does not interrupt it.
package partnerlimit

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// ErrTooMany is returned by Enter for a request that may not run.
var ErrTooMany = errors.New("too many requests of the partner run at a time")

// Limit bounds the requests of each partner. Its fields must not change after the first
// call of Enter. It must not be copied.
type Limit struct {
	Running int           // requests of a partner that run at a time; at least 1
	Waiting int           // requests of a partner that wait at most
	Wait    time.Duration // how long a request waits at most

	mu       sync.Mutex
	partners map[string]*partner // those with requests that run or wait
}

// partner has the requests of one partner.
type partner struct {
	requests int // that run or wait; guarded by Limit.mu
	running  *semaphore.Weighted
}

// Enter waits until a request of the partner may run. The caller must then call leave once,
// when the request has ended. The error is ErrTooMany if Waiting requests wait already, or
// if this one has waited for Wait, and that of ctx if ctx ends first.
func (l *Limit) Enter(ctx context.Context, id string) (leave func(), err error) {
	p := l.join(id)
	if p == nil {
		return nil, ErrTooMany
	}
	if !p.running.TryAcquire(1) {
		waiting, cancel := context.WithTimeout(ctx, l.Wait)
		defer cancel()
		if p.running.Acquire(waiting, 1) != nil {
			l.part(id, p)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, ErrTooMany
		}
	}
	return func() {
		p.running.Release(1)
		l.part(id, p)
	}, nil
}

// join counts a request of a partner. It returns nil if the request may not even wait.
func (l *Limit) join(id string) *partner {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.partners[id]
	if p == nil {
		if l.partners == nil {
			l.partners = make(map[string]*partner)
		}
		p = &partner{running: semaphore.NewWeighted(int64(l.Running))}
		l.partners[id] = p
	}
	if p.requests == l.Running+l.Waiting {
		return nil
	}
	p.requests++
	return p
}

// part ends a request that join has counted. A partner without requests is forgotten.
func (l *Limit) part(id string, p *partner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.requests--; p.requests == 0 {
		delete(l.partners, id)
	}
}
