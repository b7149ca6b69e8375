package review

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/stored"
)

// States of a version.
const (
	VersionWaiting  = "waiting"  // for its sign-off
	VersionReplaced = "replaced" // by a later registration, before it was signed
	VersionSigned   = "signed"
	VersionReturned = "returned" // to its source, by a PI
)

// Version is a version of an assessment with all that was done with it.
type Version struct {
	Waiting
	State string `json:"state"` // VersionWaiting, VersionReplaced, VersionSigned or VersionReturned

	// Signature is nil unless the version was signed. SignedDigest is what the
	// signature covers: Digest, or empty where the signature was made before
	// digests were recorded.
	Signature    *events.Signature `json:"signature,omitempty"`
	SignedDigest string            `json:"signedDigest,omitempty"`
	Number       uint64            `json:"number,omitempty"` // study number of the event that published it; 0 for none

	// Available reports whether partners have the version now: it is the one
	// signed last, not withdrawn, and of the case's highest revision.
	Available bool `json:"available"`

	Publication *Publication      `json:"publication,omitempty"` // nil unless the version was signed
	Withdrawal  *WithdrawalRecord `json:"withdrawal,omitempty"`
	Return      *ReturnRecord     `json:"return,omitempty"` // nil unless the version was returned
}

// Publication is the event by which a signed version was published. Its study number is
// Version.Number.
type Publication struct {
	Event          string `json:"event"` // its id
	Kind           string `json:"kind"`
	Hash           string `json:"hash"`
	StreamSequence uint64 `json:"streamSequence"` // 0 until the broker has stored the event
}

// ReturnRecord tells who returned a version to its source, when and why. A return is
// not published, and is no signature.
type ReturnRecord struct {
	User   string    `json:"user"`
	Name   string    `json:"name"` // as printed
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
}

// WithdrawalRecord is the signature by which a version was withdrawn, and why.
// Its meaning is empty where it was made before withdrawals were signatures.
type WithdrawalRecord struct {
	events.Signature
	Reason string `json:"reason"`
}

// Versions returns every version of an assessment that was registered, in the
// order of registration. The error is NotFound where there is none.
func (r *Reviews) Versions(ctx context.Context, id string) ([]Version, error) {
	versions, err := database.List(ctx, r.ledger.DB.Reader, scanVersion, selectVersions+`
		where v.assessment = +?
		order by v.row`, id)
	if err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	if len(versions) == 0 {
		return nil, stored.Unknown(id)
	}
	return versions, nil
}

// VersionsIn returns Versions without those that the assessment had in other studies than
// these. It may have been moved before anything of it was signed.
func (r *Reviews) VersionsIn(ctx context.Context, id string, studies []string) ([]Version, error) {
	versions, err := r.Versions(ctx, id)
	versions = slices.DeleteFunc(versions, func(v Version) bool { return !slices.Contains(studies, v.Assessment.Study) })
	if err == nil && len(versions) == 0 {
		return nil, stored.Unknown(id)
	}
	return versions, err
}

// selectVersions selects what scanVersion scans. A where clause follows.
var selectVersions = `
	select ` + versionColumns + `
	from versions v
	join assessments a on a.id = v.assessment` + joinVersion("v.row")

// versionColumns are the columns that Version.scan reads, of versions v, assessments a and
// what joinVersion joins to them. Where v is null, the version has no Registration.
const versionColumns = `
		v.content, coalesce(v.time, ''), coalesce(v.registrar, ''), coalesce(v.row, 0),
		coalesce(v.row = a.waiting, false), coalesce(a.available and v.row = a.signed, false),
		coalesce(g."user", ''), coalesce(g.name, ''), coalesce(g.meaning, ''), coalesce(g.time, ''), coalesce(g.digest, ''),
		coalesce(e.sequence, 0), coalesce(e.kind, ''), coalesce(e.id, ''), coalesce(e.hash, ''), coalesce(o.ordinal, 0),
		coalesce(w."user", ''), coalesce(w.name, ''), coalesce(w.meaning, ''), coalesce(w.time, ''), coalesce(w.reason, ''),
		coalesce(b."user", ''), coalesce(b.name, ''), coalesce(b.time, ''), coalesce(b.reason, '')`

// joinVersion joins what was done with the version that has the row, an expression. What
// waits was neither signed nor returned. So a null for it saves three lookups.
func joinVersion(row string) string {
	return `
	left join signatures g on g.version = ` + row + `
	left join events e on e.row = g.event
	left join ordinals o on o.event = e.row
	left join withdrawals w on w.version = ` + row + `
	left join returns b on b.version = ` + row + `
`
}

func scanVersion(row database.Row) (v Version, err error) {
	content, err := v.scan(row)
	if err != nil {
		return v, err
	}
	v.Digest = stored.Digest(content)
	v.Assessment, err = stored.Decode(content)
	return v, err
}

// scan reads a version from a row, with the columns before it into first. It returns the
// content and does not decode it.
func (v *Version) scan(row database.Row, first ...any) (content []byte, err error) {
	var registered, signed, withdrawn, returned string
	var waiting bool
	var g events.Signature
	var p Publication
	var w WithdrawalRecord
	var b ReturnRecord
	err = row.Scan(append(first, &content, &registered, &v.By, &v.Registration, &waiting, &v.Available,
		&g.User, &g.Name, &g.Meaning, &signed, &v.SignedDigest,
		&v.Number, &p.Kind, &p.Event, &p.Hash, &p.StreamSequence,
		&w.User, &w.Name, &w.Meaning, &withdrawn, &w.Reason,
		&b.User, &b.Name, &returned, &b.Reason)...)
	if err != nil || v.Registration == 0 {
		return nil, err
	}
	for _, t := range []struct {
		text string
		to   *time.Time
	}{{registered, &v.Registered}, {signed, &g.Time}, {withdrawn, &w.Time}, {returned, &b.Time}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = events.ParseTime(t.text); err != nil {
			return nil, err
		}
	}
	v.State = VersionReplaced
	switch {
	case waiting:
		v.State = VersionWaiting
	case signed != "":
		v.State, v.Signature, v.Publication = VersionSigned, &g, &p
	case returned != "":
		v.State, v.Return = VersionReturned, &b
	}
	if withdrawn != "" {
		v.Withdrawal = &w
	}
	return content, nil
}
