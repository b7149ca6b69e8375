package datadir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/retry"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// AccessPath is the path of Access at the operator's address of a running server.
const AccessPath = "/access"

// Access is which changes of access a running server has carried out.
type Access struct {
	Recorded   AccessEvent `json:"recorded"`  // the last one that the read API, the token endpoint and logins respect where it ends access
	Applied    AccessEvent `json:"applied"`   // the last one that the read model contains
	Withdrawn  bool        `json:"withdrawn"` // consumers, accounts and connections on NATS allow no more than Recorded does
	Reason     string      `json:"reason,omitempty"`
	Unanswered []string    `json:"unanswered,omitempty"` // NATS servers that should answer and do not
}

// AccessEvent is a chain head of the internal study of access.
type AccessEvent struct {
	Number uint64 `json:"number"`
	Hash   string `json:"hash"`
}

// Progress is how far the running server has carried out a change of access.
type Progress struct {
	Failure    error    // the server did not answer; nothing else is known then
	Refused    bool     // what the change ends is refused by the read API, the token endpoint and logins
	Applied    bool     // the read model contains it: what it grants is in force
	Withdrawn  bool     // consumers, accounts and connections on NATS allow no more than is left
	Reason     string   // why not
	Unanswered []string // NATS servers that should answer and do not: they may let through what was withdrawn
}

// Ended reports whether what the change ends is refused everywhere.
func (p Progress) Ended() bool {
	return p.Failure == nil && p.Refused && p.Withdrawn && len(p.Unanswered) == 0
}

// AppliedTimeout is how long AwaitAccess waits.
var AppliedTimeout = 2 * time.Second

// AwaitAccess asks the running server how far it has carried out the changes of access that
// are in the outbox now, until done reports true or AppliedTimeout has passed. It returns
// the last answer. An error is one of the outbox.
//
// Events are compared by number and hash: a number alone may be that of an event that
// somebody else wrote to the stream.
func AwaitAccess(ctx context.Context, dir Dir, o *outbox.Outbox, done func(Progress) bool) (p Progress, err error) {
	recorded, err := o.ChainHead(ctx, events.AccessStudy)
	if err != nil {
		return p, err
	}
	waiting, cancel := context.WithTimeout(ctx, AppliedTimeout)
	defer cancel()
	p.Failure = errors.New("it was not asked")
	err = retry.Poll(waiting, func() (_ bool, err error) {
		now, failure := dir.access(waiting)
		if failure != nil {
			if waiting.Err() == nil || p.Failure != nil { // else the last answer stands
				p = Progress{Failure: failure}
			}
			return false, nil
		}
		latest := Progress{Reason: now.Reason, Unanswered: now.Unanswered}
		if latest.Refused, err = reaches(waiting, o, now.Recorded, recorded); err == nil {
			latest.Applied, err = reaches(waiting, o, now.Applied, recorded)
		}
		if err != nil { // perhaps the end of the time; the last answer stands
			return false, err
		}
		latest.Withdrawn = latest.Refused && now.Withdrawn
		p = latest
		return done(p), nil
	})
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		err = nil // AppliedTimeout has passed
	}
	return p, err
}

// reaches reports whether head is an event of the outbox, and recorded or a later one.
func reaches(ctx context.Context, o *outbox.Outbox, head AccessEvent, recorded events.ChainHead) (bool, error) {
	if head.Number < recorded.Number {
		return false, nil
	}
	return o.Source().Holds(ctx, events.AccessStudy, events.ChainHead{Number: head.Number, Hash: head.Hash})
}

// access asks the running server.
func (d Dir) access(ctx context.Context) (a Access, err error) {
	if !d.Locked() {
		return a, errors.New("the server has ended")
	}
	s, err := d.readServeFile()
	if err != nil {
		return a, fmt.Errorf("it is starting, or its address is lost: %w", err)
	}
	status, body, err := d.Get(ctx, s.OpsURL+AccessPath)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the server answers %d", status)
	}
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	return a, err
}
