// Package accounts stores who may do what: the PIs who sign, the partners who
// read their studies, and the public keys of access tokens. It checks passwords
// and client secrets.
//
// Each change is one transaction with its line in the audit trail and, for
// partners and keys, with the event from which every reader of the stream learns
// of it. User names and ids are never used again.
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
	actionFailures       = "sign-in.failures" // how many there were in a quarter of an hour
	actionLocked         = "sign-in.locked"
	actionPIAdded        = "pi.added"
	actionPIGranted      = "pi.granted"
	actionPIRevoked      = "pi.revoked"
	actionPIReset        = "pi.password-reset"    // to a one-time password, by an operator
	actionPIPassword     = "pi.password-set"      // by the PI
	actionPIRehashed     = "pi.password-rehashed" // the same password, hashed with the present cost
	actionPIDisabled     = "pi.disabled"
	actionPartnerAdded   = "partner.added"
	actionPartnerGranted = "partner.granted"
	actionPartnerRevoked = "partner.revoked"
	actionPartnerRotated = "partner.rotated"
	actionPartnerRemoved = "partner.removed"
	actionKeyAnnounced   = "key.announced"
	actionKeyRetired     = "key.retired"
	actionKeyRotation    = "key.rotation-requested"
)

// Accounts are the accounts of one outbox. Its methods may be called concurrently.
type Accounts struct {
	ledger    *ledger.Ledger
	log       *slog.Logger
	passwords passwords
	wrong     *access.SignIns        // secrets of clients over HTTP, by client and place
	quarters  quarters               // failures of clients
	failed    *prometheus.CounterVec // sign-ins, by kind and outcome
}

// Open returns the accounts of an outbox. It appends the events of grants that
// were made by a version of the program without such events, and writes the counts of
// failed sign-ins whose quarter of an hour is over.
func Open(ctx context.Context, l *ledger.Ledger, log *slog.Logger) (*Accounts, error) {
	acc := &Accounts{
		ledger: l, log: log, passwords: newPasswords(), wrong: access.NewSignIns(access.LockingSignIns),
		quarters: quarters{byGroup: make(map[group]quarter), begun: make(chan struct{}, 1)},
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_outbox_sign_in_failures_total", Help: "Failed sign-ins: refused; of a user not checked, or of a client slowed, after too many.",
		}, []string{"kind", "outcome"}),
	}
	return acc, l.Update(ctx, "announce grants to partners", func(tx *ledger.Tx) error {
		return errors.Join(announceOldGrants(tx), closeQuarters(tx))
	})
}

// Metrics returns the metrics of sign-ins.
func (acc *Accounts) Metrics() []prometheus.Collector { return []prometheus.Collector{acc.failed} }
