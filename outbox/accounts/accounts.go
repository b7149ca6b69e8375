// Package accounts stores who may do what: the PIs who sign, the partners who
// read their studies, and the public keys of access tokens. It checks passwords
// and client secrets.
//
// Each change is one transaction with its line in the audit trail and, for
// partners and keys, with the event from which every reader of the stream learns
// of it. User names and ids are never used again.
//
// A grant lets a PI sign for a study, or a partner read it, until it is revoked. A
// one-time password is set by an operator and serves only to choose another one. A
// client secret is the password of a partner, with which it obtains access tokens.
package accounts

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Actions in the audit trail.
const (
	actionFailed         = "sign-in.failed"
	actionFailures       = "sign-in.failures" // how many there were in a quarter hour; see failures.go
	actionLocked         = "sign-in.locked"
	actionPIAdded        = "pi.added"
	actionPIGranted      = "pi.granted"
	actionPIRevoked      = "pi.revoked"
	actionPIReset        = "pi.password-reset"    // to a one-time password, by an operator
	actionPIPassword     = "pi.password-set"      // by the PI
	actionPIRehashed     = "pi.password-rehashed" // the same password, hashed with the present cost
	actionPIDisabled     = "pi.disabled"
	actionSessionBegan   = "session.began" // of a PI, in a host that keeps sessions
	actionSessionEnded   = "session.ended"
	actionPartnerAdded   = "partner.added"
	actionPartnerGranted = "partner.granted"
	actionPartnerRevoked = "partner.revoked"
	actionPartnerRotated = "partner.rotated"
	actionPartnerRemoved = "partner.removed"
	actionSourceAdded    = "source.added"
	actionSourceGranted  = "source.granted"
	actionSourceRevoked  = "source.revoked"
	actionSourceRotated  = "source.rotated"
	actionSourceRemoved  = "source.removed"
	actionKeyAnnounced   = "key.announced"
	actionKeyRetired     = "key.retired"
	actionKeyRevoked     = "key.revoked"
	actionKeyRotation    = "key.rotation-requested"
)

// Accounts are the accounts of one outbox. Its methods may be called concurrently.
type Accounts struct {
	ledger       *ledger.Ledger
	log          *slog.Logger
	passwords    passwords
	wrong        *access.SignIns        // failures in a row of clients over HTTP, by client and place
	quarterHours quarterHours           // failures of clients that are to be audited
	failed       *prometheus.CounterVec // sign-ins, by kind and outcome
}

// Open returns the accounts of an outbox. It appends the events of grants that were made
// by a version of the program without such events. It also closes the quarter hours of
// failed sign-ins that are over (see failures.go).
func Open(ctx context.Context, l *ledger.Ledger, log *slog.Logger) (*Accounts, error) {
	acc := &Accounts{
		ledger: l, log: log, passwords: newPasswords(), wrong: access.NewSignIns(access.LockingSignIns),
		quarterHours: quarterHours{byGroup: make(map[group]quarterHour), begun: make(chan struct{}, 1)},
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_outbox_sign_in_failures_total", Help: "Failed sign-ins: refused; of a user not checked, or of a client slowed, after too many.",
		}, []string{"kind", "outcome"}),
	}
	return acc, l.Update(ctx, "announce grants to partners", func(tx *ledger.Tx) error {
		return errors.Join(announceOldGrants(tx), closeQuarterHours(tx))
	})
}

// Metrics returns the metrics of sign-ins.
func (acc *Accounts) Metrics() []prometheus.Collector { return []prometheus.Collector{acc.failed} }
