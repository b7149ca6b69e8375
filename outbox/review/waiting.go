package review

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// Waiting is a version that waits for its sign-off.
type Waiting struct {
	Assessment events.Assessment `json:"assessment"`
	Registered time.Time         `json:"registered"`
	By         string            `json:"by"`

	Registration int64  `json:"registration"` // identifies the version among all others; see Expected
	Digest       string `json:"digest"`       // lower-case hex SHA-256 of the content as stored
}

// WaitingFilter selects versions that wait. The zero filter selects all.
type WaitingFilter struct {
	Study string // id
	Case  int32
}

// Waiting returns the versions that wait for their sign-off, by study, case and
// assessment id.
func (r *Reviews) Waiting(ctx context.Context, filter WaitingFilter) ([]Waiting, error) {
	study := ledger.NormalizeStudy(filter.Study)
	waiting, err := database.List(ctx, r.ledger.DB.Reader, scanWaiting, `
		select v.content, v.time, v.registrar, v.row
		from assessments a
		join studies s on s.row = a.study
		join versions v on v.row = a.waiting
		where (? = '' or s.study = ?)
			and (? = 0 or a.number = ?)
		order by s.study, a.number`, study, study, filter.Case, filter.Case)
	if err != nil {
		return nil, fmt.Errorf("list waiting versions: %w", err)
	}
	slices.SortStableFunc(waiting, func(a, b Waiting) int {
		if a.Assessment.Study != b.Assessment.Study || a.Assessment.Case.ID != b.Assessment.Case.ID {
			return 0 // in order already
		}
		return stored.CompareIDs(a.Assessment.ID, b.Assessment.ID)
	})
	return waiting, nil
}

func scanWaiting(row database.Row) (w Waiting, err error) {
	var content []byte
	var at string
	if err := row.Scan(&content, &at, &w.By, &w.Registration); err != nil {
		return w, err
	}
	if w.Registered, err = events.ParseTime(at); err != nil {
		return w, err
	}
	w.Digest = stored.Digest(content)
	w.Assessment, err = stored.Decode(content)
	return w, err
}
