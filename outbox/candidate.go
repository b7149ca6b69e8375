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
)

// candidate is an assessment that is to be signed or withdrawn, with everything
// that the decision depends on, read in one statement.
type candidate struct {
	id           string
	number       int32 // of the case
	study        string
	studyRow     int64  // studies.row
	subject      string // of the case
	caseRevision int32  // the highest ever signed in the case
	available    bool

	waiting        int64 // versions.row; 0 for none
	waitingVersion events.Version

	signed        int64 // versions.row; 0 for none
	signedVersion events.Version
	signature     events.Signature // of the signed version
	event         int64            // events.row of its report

	signer  string                    // printed name of the PI who asks
	granted bool                      // that PI is enabled and granted the study
	stored  accounts.StoredCredential // of that PI

	chain *ledger.Chain // of the study

	assessment events.Assessment // of the waiting version, once it is read
	digest     string            // of the signed version; once the waiting version is read, of that
}

// load reads the assessment with this id as a candidate, and whether the user may sign
// for its study. It opens the study's chain. The error is NotFound if there is no such
// assessment.
func (tx *transaction) load(id, user string) (*candidate, error) {
	c := &candidate{id: id}
	var head ledger.Head
	var signedAt string
	err := tx.QueryRow(`
		select a.number, a.available, s.row, s.study, s.token, s.sequence, s.hash, s.time, c.revision, c.subject,
			coalesce(a.waiting, 0), coalesce(n.case_revision, 0), coalesce(n.revision, 0),
			coalesce(a.signed, 0), coalesce(v.case_revision, 0), coalesce(v.revision, 0),
			coalesce(g."user", ''), coalesce(g.name, ''), coalesce(g.meaning, ''), coalesce(g.time, ''), coalesce(g.event, 0), coalesce(g.digest, ''),
			coalesce(p.name, ''), p.disabled = '' and r.revoked = '',
			(select coalesce(max(row), 0) from events),
			(select coalesce(max(row), 0) from audit), coalesce((select hash from audit order by row desc limit 1), ''),
			`+accounts.StoredColumns+`
		from assessments a
		join studies s on s.row = a.study
		join cases c on c.study = a.study and c.number = a.number
		left join versions n on n.row = a.waiting
		left join versions v on v.row = a.signed
		left join signatures g on g.version = a.signed
		left join people p on p."user" = +?
		left join grants r on r."user" = +? and r.study = s.study
		where a.id = +?`, user, user, id).Scan(append([]any{
		&c.number, &c.available, &head.Row, &c.study, &head.Key, &head.Number, &head.Hash, &head.Time, &c.caseRevision, &c.subject,
		&c.waiting, &c.waitingVersion.CaseRevision, &c.waitingVersion.Revision,
		&c.signed, &c.signedVersion.CaseRevision, &c.signedVersion.Revision,
		&c.signature.User, &c.signature.Name, &c.signature.Meaning, &signedAt, &c.event, &c.digest,
		&c.signer, nullAsFalse{&c.granted}, &head.LastEvent, &head.Trail.Line, &head.Trail.Hash,
	}, c.stored.Columns()...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, stored.Unknown(id)
	}
	if err != nil {
		return nil, fmt.Errorf("load assessment: %w", err)
	}
	if signedAt != "" {
		if c.signature.Time, err = events.ParseTime(signedAt); err != nil {
			return nil, fmt.Errorf("load signature: %w", err)
		}
	}
	c.studyRow = head.Row
	c.chain, err = tx.Chain(head)
	return c, err
}

// resetBefore returns when an operator last set the PI's password, if that was less
// than 72 hours before the signature, or else an empty string. Within that time the
// operator may have signed in place of the PI.
func (c *candidate) resetBefore(signature events.Signature) string {
	if c.stored.Reset > events.FormatTime(signature.Time.Add(-accounts.OneTimeFor)) {
		return c.stored.Reset
	}
	return ""
}

// authorize returns an Unauthenticated Error if the user has another password by now than
// the credential identifies, and a Forbidden Error if that PI is disabled or has no grant
// for the study. An empty credential is not compared.
func (c *candidate) authorize(user, credential string) error {
	if err := c.stored.Check(user, credential); err != nil {
		return err
	}
	if !c.granted {
		return events.Errorf(events.Forbidden, "%s may not sign for study %s", user, c.study)
	}
	return nil
}

// preparedVersion is a version that was read and decoded before the transaction,
// so that others do not wait while it is done.
type preparedVersion struct {
	version    int64 // versions.row
	assessment events.Assessment
	digest     string
}

// prepared is what was read before, so that a sign-off need not read it again.
type prepared struct {
	versions map[string]preparedVersion // by assessment id

	// stamp is that of the case, if it was read in the transaction of the sign-off.
	stamp string
}

// prepareVersions reads the waiting versions of assessments, by assessment id. It
// leaves out what it cannot read and returns no error: the transaction reads again
// what is missing or was replaced meanwhile. It also leaves out those that the sign-off
// names by a digest of which the content is decoded already: to read them in the transaction
// is cheap, because the writer's connection keeps its pages after a commit.
func (o *Outbox) prepareVersions(ctx context.Context, s SignOff, ids []string) map[string]preparedVersion {
	out := make(map[string]preparedVersion, len(ids))
	for _, id := range ids {
		if _, ok := o.contents.Remembered(s.Expected[id].Digest); ok {
			continue
		}
		var p preparedVersion
		var content []byte
		err := o.db.Reader.QueryRowContext(ctx, `
			select v.row, v.content
			from assessments a
			join versions v on v.row = a.waiting
			where a.id = +?`, id).Scan(&p.version, &content)
		if err != nil {
			continue
		}
		if p.assessment, p.digest, err = o.contents.Decode(content); err == nil {
			out[id] = p
		}
	}
	return out
}

// readWaiting returns the waiting version of the candidate. It takes it from prepared,
// unless that has another version or none; then it reads it and adds it to prepared.
func (tx *transaction) readWaiting(c *candidate, prepared prepared) (p preparedVersion, err error) {
	if p, ok := prepared.versions[c.id]; ok && p.version == c.waiting {
		return p, nil
	}
	content, err := tx.content(c.waiting)
	if err != nil {
		return p, err
	}
	p.version = c.waiting
	if p.assessment, p.digest, err = tx.o.contents.Decode(content); err == nil {
		prepared.versions[c.id] = p
	}
	return p, err
}

// content returns the stored content of a version, named by its versions.row.
func (tx *transaction) content(version int64) (content []byte, err error) {
	err = tx.QueryRow(`select content from versions where row = ?`, version).Scan(&content)
	if err != nil {
		return nil, fmt.Errorf("load version: %w", err)
	}
	return content, nil
}

// nullAsFalse scans an SQL truth value, null as false.
type nullAsFalse struct{ target *bool }

// Scan implements sql.Scanner.
func (n nullAsFalse) Scan(value any) error {
	number, _ := value.(int64)
	*n.target = number == 1
	return nil
}
