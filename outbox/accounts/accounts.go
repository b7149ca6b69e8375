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
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// Actions in the audit trail.
const (
	actionFailed         = "sign-in.failed"
	actionLocked         = "sign-in.locked"
	actionPIAdded        = "pi.added"
	actionPIGranted      = "pi.granted"
	actionPIRevoked      = "pi.revoked"
	actionPIPassword     = "pi.password-set"
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
	failed    *prometheus.CounterVec // sign-ins, by kind and outcome
}

// Open returns the accounts of an outbox. It appends the events of grants that
// were made by a version of the program without such events.
func Open(ctx context.Context, l *ledger.Ledger, log *slog.Logger) (*Accounts, error) {
	acc := &Accounts{
		ledger: l, log: log, passwords: newPasswords(),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_outbox_sign_in_failures_total", Help: "Failed sign-ins: refused, or locked after too many.",
		}, []string{"kind", "outcome"}),
	}
	return acc, l.Update(ctx, "announce grants to partners", announceOldGrants)
}

// Metrics returns the metrics of sign-ins.
func (acc *Accounts) Metrics() []prometheus.Collector { return []prometheus.Collector{acc.failed} }
