package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Standing is what a PI may do now, for a host that keeps sessions.
type Standing struct {
	PI

	// OneTime reports whether an operator set the password. It serves only to choose
	// another one.
	OneTime bool
}

// Standing returns what the PI may do now. It checks no password. The error is
// Unauthenticated if there is no such PI.
func (acc *Accounts) Standing(ctx context.Context, user string) (s Standing, err error) {
	p, err := findPerson(ctx, acc.ledger.DB.Reader, user)
	if err != nil {
		return s, fmt.Errorf("look up PI: %w", err)
	}
	if p.user == "" {
		return s, events.Errorf(events.Unauthenticated, "there is no PI %q", user)
	}
	if s.PI, err = p.describe(); err != nil {
		return s, err
	}
	s.OneTime = p.OneTime != ""
	return s, nil
}

// Reasons for the end of a session.
const (
	SessionSignedOut = "signed out"
	SessionIdle      = "idle"     // nothing was asked for a while
	SessionAbsolute  = "absolute" // it has lasted as long as a session may
	SessionReplaced  = "replaced" // by a later session of the same PI
	SessionPassword  = "password" // another one was set
	SessionDisabled  = "disabled"
	SessionLocked    = "lock" // too many wrong passwords were given in it
	SessionShutdown  = "shutdown"
)

// SessionBegan audits that a PI has begun a session. Address is the client's. The error is
// Unauthenticated if the PI has another password by now than the credential identifies, or
// is disabled. Then there is no session. An empty credential is not compared.
func (acc *Accounts) SessionBegan(ctx context.Context, user, credential, address string) error {
	return acc.recordSession(ctx, user, credential, address, ledger.Line{Action: actionSessionBegan})
}

// SessionEnded audits that a session of a PI has ended at a time, for one of the reasons
// above.
func (acc *Accounts) SessionEnded(ctx context.Context, user, address, reason string, at time.Time) error {
	detail := struct {
		Reason string `json:"reason"`
	}{reason}
	return acc.recordSession(ctx, user, "", address, ledger.Line{Time: at, Action: actionSessionEnded, Detail: detail})
}

// recordSession audits the line. The error is NotFound if there is no such PI, and that of
// StoredCredential.Check if the PI has not the credential.
func (acc *Accounts) recordSession(ctx context.Context, user, credential, address string, line ledger.Line) error {
	line.Actor, line.Subject, line.Address = user, user, address
	return acc.ledger.UpdateSilently(ctx, "record session", func(tx *ledger.Tx) error {
		p, err := getPerson(tx, user)
		if err != nil {
			return err
		}
		if err := p.Check(user, credential); err != nil {
			return err
		}
		return tx.Audit(line)
	})
}
