// Package review reads what PIs see before and after they sign: the versions that wait,
// whole cases, and what was done with each version.
package review

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/seed-e88a4ece/signoff/events/recist"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Reviews reads the cases of one outbox. Its methods may be called concurrently.
type Reviews struct {
	ledger   *ledger.Ledger
	contents *stored.Contents
	checks   *lru.Cache[string, map[string]recist.Visit] // by the digests of the versions in force
}

// New returns the cases of the outbox with the ledger l. Contents decodes versions of
// cases.
func New(l *ledger.Ledger, contents *stored.Contents) *Reviews {
	checks, err := lru.New[string, map[string]recist.Visit](maxChecks)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &Reviews{l, contents, checks}
}
