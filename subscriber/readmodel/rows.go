package readmodel

import (
	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/fhir"
)

// end ends the available version of a report at event n, if there is one.
func end(tx *sqlx.Tx, s *study, id string, n uint64) error {
	result, err := tx.Exec(`
		update reports
		set n_end = ?
		where study = ? and id_key = ? and n_end is null`,
		n, s.Study, idKey(id))
	if err != nil {
		return err
	}
	ended, err := result.RowsAffected()
	s.Reports -= int(ended)
	return err
}

// insert stores the version that an event carries, valid up to nEnd: nil or a
// number.
func insert(tx *sqlx.Tx, s *study, e events.Event, x *fhir.Index, nEnd any) error {
	effective, err := events.ParsePeriod(x.Effective)
	if err != nil {
		return err
	}
	result, err := tx.Exec(`
		insert into reports (
			study, id_key, n, n_end, updated, issued, date_from, date_until,
			case_id, subject, name, conclusion, id)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.Study, idKey(x.ID), e.Number, nEnd, moment(x.LastUpdated), moment(x.Issued),
		boundary(effective.From), boundary(effective.Until), x.Case, x.Subject, x.Name, x.Conclusion, x.ID)
	if err != nil {
		return err
	}
	row, err := result.LastInsertId()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`
		insert into bodies (row, body)
		values (?, ?)`, row, e.Data)
	return err
}

func insertAccess(tx *sqlx.Tx, e events.Event) error {
	_, err := tx.Exec(`
		insert into access (n, type, subject, body)
		values (?, ?, ?, ?)`,
		e.Number, e.Type, e.Subject, e.Data)
	return err
}
