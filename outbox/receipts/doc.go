// Package receipts stores how far each partner got in each of its studies, as
// the broker's consumers report it, so that it outlasts the broker. From it
// follow how far a partner is behind and who has received a report.
//
// A receipt has the stream sequences up to which a partner was delivered a study's
// events and has acknowledged them. It begins with a grant and ends with its revocation.
// It only moves forward. A lag is how many events of a study a partner has not
// acknowledged, and since when it could have had the oldest of them.
package receipts

import "github.com/seed-e88a4ece/signoff/outbox/internal/ledger"

// Receipts are the receipts of one outbox. Its methods may be called concurrently.
type Receipts struct{ ledger *ledger.Ledger }

// New returns the receipts of an outbox.
func New(l *ledger.Ledger) *Receipts { return &Receipts{ledger: l} }
