package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// Delivery is one assessment that a source system hands in.
type Delivery struct {
	Source     string // id; it was authenticated by the caller
	Assessment events.Assessment

	// Tag, if not empty, is review.Case.Tag of the assessment that the source has seen.
	// If the assessment has another one by now, Deliver returns a Stale Error and
	// registers nothing.
	Tag string
}

// Deliver registers one assessment of a source system, as Register does. The source must
// be granted the study, or else the error is NotFound. An assessment belongs to the first
// source that registered it, and for any other source the error is a Conflict. All other
// refusals are those of RegisterResult.
func (o *Outbox) Deliver(ctx context.Context, d Delivery) (r Registration, err error) {
	if err := ledger.ValidActor(d.Source); err != nil {
		return r, err
	}
	s := prepareSubmission(events.Submission{Assessment: d.Assessment})
	r.ID, r.Version = s.assessment.ID, s.assessment.Version()
	if s.err != nil {
		return r, s.err
	}
	err = o.update(ctx, "register assessment", func(tx *transaction) (err error) {
		r.Outcome, err = tx.deliver(d, s)
		return err
	})
	return r, err
}

func (tx *transaction) deliver(d Delivery, s submission) (outcome string, err error) {
	if err := tx.mayDeliver(d.Source, s.assessment); err != nil {
		return "", err
	}
	if err := tx.checkTag(d, s.assessment.ID); err != nil {
		return "", err
	}
	if outcome, err = tx.register(d.Source, s); err != nil {
		return "", err
	}
	_, err = tx.Exec(`
		update assessments
		set source = ?
		where id = ? and source is null`, d.Source, s.assessment.ID)
	if err != nil {
		return "", fmt.Errorf("store the source: %w", err)
	}
	return outcome, nil
}

// mayDeliver returns an error unless the source is granted a's study and no other source
// has registered an assessment with a's id. The id may be stored in another study, from
// which it would move; that study must be granted too.
func (tx *transaction) mayDeliver(source string, a events.Assessment) error {
	var owner sql.NullString
	study := a.Study
	err := tx.QueryRow(`
		select a.source, s.study
		from assessments a
		join studies s on s.row = a.study
		where a.id = +?`, a.ID).Scan(&owner, &study)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look up the source: %w", err)
	}
	for _, study := range []string{a.Study, study} {
		granted, err := accounts.SourceGranted(tx.Tx, source, study)
		if err != nil {
			return err
		}
		if !granted {
			return events.Errorf(events.NotFound, "study %s is not granted to source %s", a.Study, source)
		}
	}
	if owner.Valid && owner.String != source {
		return &events.Error{Code: events.Conflict, Field: "id", Message: fmt.Sprintf("assessment %s belongs to another source", a.ID)}
	}
	return nil
}

// checkTag returns a Stale Error if the delivery has a tag and the stored assessment has
// another one, or none because it is not stored.
func (tx *transaction) checkTag(d Delivery, id string) error {
	if d.Tag == "" {
		return nil
	}
	tag, err := review.Tag(context.Background(), tx, id)
	if err != nil && !errors.Is(err, events.NotFound) {
		return err
	}
	if err != nil || tag != d.Tag {
		return events.Errorf(events.Stale, "assessment %s has changed since it was read; read it again", id)
	}
	return nil
}
