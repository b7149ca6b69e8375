package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Standing is what a PI may do now, for a host that keeps sessions.
type Standing struct {
	PI

	// Credential identifies the PI's password: it changes whenever another one is set,
	// by the PI or by an operator, and not when the same one is hashed anew. A session
	// in which it has changed is to end.
	Credential string

	// OneTime reports whether an operator set the password. It serves only to choose
	// another one.
	OneTime bool
}

// Standing returns what the PI may do now. It checks no password. The error is
// Unauthenticated if there is no such PI.
func (acc *Accounts) Standing(ctx context.Context, user string) (s Standing, err error) {
	var p person
	// Each choice of a password by the PI either ends a one-time password or stores the
	// line by which a former one was replaced.
	var line int64
	err = database.Each(ctx, acc.ledger.DB.Reader, func(row database.Row) error { return p.scan(row, &line) }, `
		select `+personColumns+`, (select coalesce(max(line), 0) from former_passwords o where o."user" = p."user")
		from people p`+joinPerson+`
		where p."user" = +?
		order by g.study`, user)
	if err != nil {
		return s, fmt.Errorf("look up PI: %w", err)
	}
	if p.user == "" {
		return s, events.Errorf(events.Unauthenticated, "there is no PI %q", user)
	}
	if s.PI, err = p.describe(); err != nil {
		return s, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d", p.oneTime, p.reset, line))
	s.Credential, s.OneTime = hex.EncodeToString(sum[:]), p.oneTime != ""
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

// SessionBegan audits that a PI has begun a session. Address is the client's.
func (acc *Accounts) SessionBegan(ctx context.Context, user, address string) error {
	return acc.recordSession(ctx, user, address, ledger.Line{Action: actionSessionBegan})
}

// SessionEnded audits that a session of a PI has ended, for one of the reasons above.
func (acc *Accounts) SessionEnded(ctx context.Context, user, address, reason string) error {
	detail := struct {
		Reason string `json:"reason"`
	}{reason}
	return acc.recordSession(ctx, user, address, ledger.Line{Action: actionSessionEnded, Detail: detail})
}

func (acc *Accounts) recordSession(ctx context.Context, user, address string, line ledger.Line) error {
	line.Actor, line.Subject, line.Address = user, user, address
	return acc.ledger.UpdateSilently(ctx, "record session", func(tx *ledger.Tx) error {
		if _, err := getPerson(tx, user); err != nil {
			return err
		}
		return tx.Audit(line)
	})
}
