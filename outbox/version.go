package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// States of a version.
const (
	VersionWaiting  = "waiting"  // for its sign-off
	VersionReplaced = "replaced" // by a later registration, before it was signed
	VersionSigned   = "signed"
)

// Version is a version of an assessment with all that was done with it.
type Version struct {
	Waiting
	State string `json:"state"` // VersionWaiting, VersionReplaced or VersionSigned

	// Signature is nil unless the version was signed. SignedDigest is what the
	// signature covers: Digest, or empty where the signature was made before
	// digests were recorded.
	Signature    *events.Signature `json:"signature,omitempty"`
	SignedDigest string            `json:"signedDigest,omitempty"`
	Number       uint64            `json:"number,omitempty"` // study number of the event that published it; 0 for none

	// Available reports whether partners have the version now: it is the one
	// signed last, not withdrawn, and of the case's highest revision.
	Available bool `json:"available"`

	Withdrawal *WithdrawalRecord `json:"withdrawal,omitempty"`
}

// WithdrawalRecord is the signature by which a version was withdrawn, and why.
// Its meaning is empty where it was made before withdrawals were signatures.
type WithdrawalRecord struct {
	events.Signature
	Reason string `json:"reason"`
}

// Versions returns every version of an assessment that was registered, in the
// order of registration. The error is NotFound where there is none.
func (o *Outbox) Versions(ctx context.Context, id string) ([]Version, error) {
	versions, err := database.List(ctx, o.db.Reader, scanVersion, `
		select v.content, v.time, v.registrar, v.row,
			v.row = coalesce(a.waiting, 0), a.available and v.row = coalesce(a.signed, 0),
			coalesce(g."user", ''), coalesce(g.name, ''), coalesce(g.meaning, ''), coalesce(g.time, ''), coalesce(g.digest, ''),
			coalesce(e.sequence, 0),
			coalesce(w."user", ''), coalesce(w.name, ''), coalesce(w.meaning, ''), coalesce(w.time, ''), coalesce(w.reason, '')
		from versions v
		join assessments a on a.id = v.assessment
		left join signatures g on g.version = v.row
		left join events e on e.row = g.event
		left join withdrawals w on w.version = v.row
		where v.assessment = ?
		order by v.row`, id)
	if err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	if len(versions) == 0 {
		return nil, unknownAssessment(id)
	}
	return versions, nil
}

// scanVersion scans a row of Versions.
func scanVersion(row database.Row) (v Version, err error) {
	var content []byte
	var registered, signed, withdrawn string
	var waiting bool
	var g events.Signature
	var w WithdrawalRecord
	err = row.Scan(&content, &registered, &v.By, &v.Registration, &waiting, nullAsFalse{&v.Available},
		&g.User, &g.Name, &g.Meaning, &signed, &v.SignedDigest, &v.Number,
		&w.User, &w.Name, &w.Meaning, &withdrawn, &w.Reason)
	if err != nil {
		return v, err
	}
	for _, t := range []struct {
		text string
		to   *time.Time
	}{{registered, &v.Registered}, {signed, &g.Time}, {withdrawn, &w.Time}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = events.ParseTime(t.text); err != nil {
			return v, err
		}
	}
	v.State = VersionReplaced
	if waiting {
		v.State = VersionWaiting
	}
	if signed != "" {
		v.State, v.Signature = VersionSigned, &g
	}
	if withdrawn != "" {
		v.Withdrawal = &w
	}
	v.Digest = digest(content)
	v.Assessment, err = decode(content)
	return v, err
}
