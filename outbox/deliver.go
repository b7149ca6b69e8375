package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
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

// Delivered is the answer to a delivery.
type Delivered struct {
	Registration
	Created bool   `json:"-"`      // the assessment was not stored before
	Digest  string `json:"digest"` // review.Waiting.Digest of what was delivered
	Tag     string `json:"-"`      // review.Case.Tag of the assessment after the delivery
}

// Deliver registers one assessment of a source system, as Register does. The source must
// be granted the study, or else the error is NotFound. An assessment belongs to the first
// source that registered it, and for any other source the error is a Conflict. All other
// refusals are those of RegisterResult.
func (o *Outbox) Deliver(ctx context.Context, d Delivery) (r Delivered, err error) {
	if err := ledger.ValidActor(d.Source); err != nil {
		return r, err
	}
	s := prepareSubmission(events.Submission{Assessment: d.Assessment})
	r.ID, r.Version = s.assessment.ID, s.assessment.Version()
	if s.err != nil {
		return r, s.err
	}
	err = o.update(ctx, "register assessment", func(tx *transaction) (err error) {
		r, err = tx.deliver(d, s)
		return err
	})
	return r, err
}

func (tx *transaction) deliver(d Delivery, s submission) (r Delivered, err error) {
	r.ID, r.Version, r.Digest = s.assessment.ID, s.assessment.Version(), stored.Digest([]byte(s.content))
	if r.Created, err = tx.mayDeliver(d.Source, s.assessment); err != nil {
		return r, err
	}
	if err := tx.checkTag(d.Tag, r.ID); err != nil {
		return r, err
	}
	if r.Outcome, err = tx.register(d.Source, s); err != nil {
		return r, err
	}
	_, err = tx.Exec(`
		update assessments
		set source = ?
		where id = ? and source is null`, d.Source, s.assessment.ID)
	if err != nil {
		return r, fmt.Errorf("store the source: %w", err)
	}
	r.Tag, err = review.Tag(context.Background(), tx, r.ID)
	return r, err
}

// mayDeliver returns an error unless the source is granted a's study and no other source
// has registered an assessment with a's id. The id may be stored in another study, from
// which it would move; that study must be granted too. Created reports whether the id is
// not stored.
func (tx *transaction) mayDeliver(source string, a events.Assessment) (created bool, err error) {
	var owner sql.NullString
	study := a.Study
	err = tx.QueryRow(`
		select a.source, s.study
		from assessments a
		join studies s on s.row = a.study
		where a.id = +?`, a.ID).Scan(&owner, &study)
	if created = errors.Is(err, sql.ErrNoRows); err != nil && !created {
		return false, fmt.Errorf("look up the source: %w", err)
	}
	for _, study := range []string{a.Study, study} {
		granted, err := accounts.SourceGranted(tx.Tx, source, study)
		if err != nil {
			return false, err
		}
		if !granted {
			// The same for both, so that a source does not learn which ids other studies have.
			return false, events.Errorf(events.NotFound, "study %s, or another study in which assessment %s is stored, is not granted to source %s", a.Study, a.ID, source)
		}
	}
	if owner.Valid && owner.String != source {
		return false, &events.Error{Code: events.Conflict, Field: "id", Message: fmt.Sprintf("assessment %s belongs to another source", a.ID)}
	}
	return created, nil
}

// checkTag returns a Stale Error if want is not empty and the stored assessment has
// another tag, or none because it is not stored.
func (tx *transaction) checkTag(want, id string) error {
	if want == "" {
		return nil
	}
	tag, err := review.Tag(context.Background(), tx, id)
	if err != nil && !errors.Is(err, events.NotFound) {
		return err
	}
	if err != nil || tag != want {
		return events.Errorf(events.Stale, "assessment %s has changed since it was read; read it again", id)
	}
	return nil
}
