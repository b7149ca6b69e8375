package readmodel

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/subscriber/stream"
)

// progress is the part of the content that is needed to apply further events.
type progress struct {
	position  stream.Position
	studies   map[string]study // by study key
	directory access.Directory

	derivation int
	filling    int64 // random number of this content; see sameFilling
}

// study is a row of the table studies.
type study struct {
	Study   int64 // the row's id; -1 in the view of a study without events
	Key     string
	Number  uint64 // of the last event
	Hash    string
	Reports int    // that are available
	Unknown string // type of the first event that only a newer version knows

	Observations int    // of the available reports
	ReportEvents uint64 // events about reports
	Longest      int    // days of the longest date of an assessment
}

// studyColumns are those that scanStudy reads.
const studyColumns = "study, token, sequence, hash, reports, unknown, observations, report_events, longest"

func scanStudy(row database.Row) (s study, err error) {
	err = row.Scan(&s.Study, &s.Key, &s.Number, &s.Hash, &s.Reports, &s.Unknown, &s.Observations, &s.ReportEvents, &s.Longest)
	return s, err
}

// load reads the progress, and makes position and directory visible.
func (m *Model) load(ctx context.Context) (progress, error) {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	var p progress
	err := m.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		p, err = readProgress(tx)
		return err
	})
	if err != nil {
		return progress{}, fmt.Errorf("load read model: %w", err)
	}
	m.setDerivation(p.derivation)
	m.heads.replace(p)
	m.publish(p.position, p.directory)
	return p, nil
}

// readProgress reads the progress from the file, in one transaction.
func readProgress(tx *sqlx.Tx) (p progress, err error) {
	if p.position, err = readPosition(tx); err != nil {
		return p, err
	}
	if p.derivation, p.filling, err = readDerivation(tx); err != nil {
		return p, err
	}
	if p.studies, err = readStudies(tx); err != nil {
		return p, err
	}
	p.directory, err = readDirectory(tx, p.studies[events.AccessStudy])
	return p, err
}

// storedPosition reads the position from the file, which another process may write.
func (m *Model) storedPosition(ctx context.Context) (p stream.Position, err error) {
	err = m.snapshot(ctx, func(tx *sqlx.Tx) error {
		p, err = readPosition(tx)
		return err
	})
	return p, err
}

// snapshot runs fn in a read-only transaction, which sees one state.
func (m *Model) snapshot(ctx context.Context, fn func(tx *sqlx.Tx) error) error {
	tx, err := m.db.Reader.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(tx)
}

// readPosition reads the stored position. Created is zero before the first event.
func readPosition(tx *sqlx.Tx) (stream.Position, error) {
	var p stream.Position
	var created string
	err := tx.QueryRow(`
		select created, sequence, id, hash
		from position`).Scan(&created, &p.StreamSequence, &p.ID, &p.Hash)
	if err != nil || created == "" {
		return p, err
	}
	p.Created, err = time.Parse(time.RFC3339Nano, created)
	return p, err
}

func readStudies(tx *sqlx.Tx) (map[string]study, error) {
	byKey := make(map[string]study)
	err := database.Each(context.Background(), tx, func(row database.Row) error {
		s, err := scanStudy(row)
		byKey[s.Key] = s
		return err
	}, `
		select `+studyColumns+`
		from studies`)
	return byKey, err
}

// readDirectory makes the directory from the last access event of each partner and key.
// For an internal study that has an event of an unknown type it adds one of that type,
// with number 0, so that the directory is outdated. The hashes of access events are not
// stored. All of them get the hash of head, which is that of the last event.
func readDirectory(tx *sqlx.Tx, head study) (access.Directory, error) {
	fold := access.Directory{}.Fold()
	err := database.Each(context.Background(), tx, func(row database.Row) error {
		e := events.Event{Hash: head.Hash}
		if err := row.Scan(&e.Number, &e.Type, &e.Subject, &e.Data); err != nil {
			return err
		}
		return fold.Apply(e)
	}, `
		select n, type, subject, body
		from access
		where n in (select max(n) from access group by subject)
		union all
		select 0, unknown, '', x''
		from studies
		where unknown <> '' and substr(token, 1, 1) = '_'
		order by n`)
	if err != nil {
		return access.Directory{}, err
	}
	return fold.Directory(), nil
}

// Head identifies the content of a study: the same Head is the same content.
type Head struct {
	events.ChainHead

	// Derivation is the number of the way in which the content was made from events.
	Derivation int
}

// heads has a copy of the rows of the studies, as of the last commit that is visible.
type heads struct {
	mu         sync.RWMutex
	derivation int
	studies    map[string]study // by study key
}

// replace takes over what was read from the file.
func (h *heads) replace(p progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.derivation, h.studies = p.derivation, maps.Clone(p.studies)
}

// update takes over the studies that a commit has changed.
func (h *heads) update(changed map[string]study) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(h.studies, changed)
}

// Head returns the head of a study as applied by this process, without reading
// the file. What Search returns afterwards has this head or a later one. Known is
// false while Run does not run, because another process may write the file, and for
// a study that the method Outdated names.
func (m *Model) Head(studyKey string) (head Head, known bool) {
	running := m.isRunning()
	m.heads.mu.RLock()
	defer m.heads.mu.RUnlock()
	head.Derivation = m.heads.derivation
	s := m.heads.studies[studyKey]
	if !running || s.Unknown != "" {
		return head, false
	}
	head.ChainHead = events.ChainHead{Number: s.Number, Hash: s.Hash}
	return head, true
}
