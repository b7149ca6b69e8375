// Package accounts keeps who may do what: the PIs who sign, the partners who
// see their studies, and the public keys of access tokens. It checks passwords
// and client secrets.
//
// Each change and its line of the audit trail are one transaction, and so is,
// for partners and keys, the event that tells every reader of the log. User
// names and ids are never used again.
package accounts

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// What the audit trail records of accounts.
const (
	actionFailed         = "sign-in.failed"
	actionLocked         = "sign-in.locked"
	actionPIAdded        = "pi.added"
	actionPIGranted      = "pi.granted"
	actionPIRevoked      = "pi.revoked"
	actionPIPassword     = "pi.password-set"
	actionPIRehashed     = "pi.password-rehashed" // the same password, by the present cost
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

// Accounts are those of one outbox. Its methods may be called concurrently.
type Accounts struct {
	ledger    *ledger.Ledger
	log       *slog.Logger
	passwords passwords
	failed    *prometheus.CounterVec // sign-ins, by kind and outcome
}

// Open returns the accounts of an outbox. Partners that were granted studies by
// a version of the program that announced no grants are told of them now.
func Open(ctx context.Context, l *ledger.Ledger, log *slog.Logger) (*Accounts, error) {
	acc := &Accounts{
		ledger: l, log: log, passwords: newPasswords(),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signoff_outbox_sign_in_failures_total", Help: "Failed sign-ins: refused, or locked after too many.",
		}, []string{"kind", "outcome"}),
	}
	return acc, l.Update(ctx, "tell partners of their grants", tellUntold)
}

// Metrics returns the metrics of sign-ins.
func (acc *Accounts) Metrics() []prometheus.Collector { return []prometheus.Collector{acc.failed} }
