package outbox

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// casing is what is held of a case before a registration; zero where it is new.
type casing struct {
	Subject  string `db:"subject"`
	Revision int32  `db:"revision"` // the highest ever signed; 0 for none
}

// heldCase looks up the assessment's case and refuses another subject.
func (w *work) heldCase(study int64, a events.Assessment) (held casing, err error) {
	err = w.tx.Get(&held, `
		select subject, revision
		from cases
		where study = ? and number = ?`, study, a.Case.ID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return held, nil
	case err != nil:
		return held, fmt.Errorf("look up case: %w", err)
	case held.Subject != a.Subject:
		return held, &events.Error{Code: events.Conflict, Field: "subject", Message: fmt.Sprintf(
			"case %d of study %s belongs to subject %s, not %s", a.Case.ID, a.Study, held.Subject, a.Subject)}
	}
	return held, nil
}
