// Package review reads what PIs see before and after they sign: the versions that wait,
// whole cases, and what was done with each version.
package review

import "github.com/seed-e88a4ece/signoff/outbox/internal/ledger"

// Reviews reads the cases of one outbox. Its methods may be called concurrently.
type Reviews struct{ ledger *ledger.Ledger }

// New returns the cases of the outbox with the ledger l.
func New(l *ledger.Ledger) *Reviews { return &Reviews{l} }
