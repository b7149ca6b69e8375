package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// self is the program's name in the audit trail, where it acts by itself.
const self = "signoff"

// actionChained is the action of the first line with a hash in an outbox of an older
// version. Its hash covers the lines before it, which have none.
const actionChained = "audit.chained"

// chainSetting is the name of the setting with the number of the first line that has a
// hash. Settings cannot be changed. Without this one, somebody could remove all hashes
// and let the chain begin again.
const chainSetting = "audit chain"

// startChain begins the hash chain of the audit trail, once in the life of an outbox. If
// an older version wrote lines without hashes, it reads them and adds a line whose hash
// covers them. It does not change them.
func (tx *Tx) startChain() error {
	var started bool
	err := tx.QueryRow(`select exists (select 1 from settings where name = ?)`, chainSetting).Scan(&started)
	if err != nil || started {
		return err
	}
	var head TrailHead
	err = database.Each(context.Background(), tx, func(row database.Row) error {
		l, err := scanLine(row)
		if err != nil {
			return err
		}
		return head.advance(l, l.number+1) // no line needs a hash yet
	}, `select `+storedColumns+` from audit a order by a.row`)
	if err != nil {
		return fmt.Errorf("hash the audit trail: %w", err)
	}
	_, err = tx.Exec(`insert into settings (name, value) values (?, ?)`, chainSetting, strconv.FormatInt(head.Line+1, 10))
	if err != nil || head.Line == 0 {
		return err
	}
	tx.trail = head
	detail := struct {
		Lines int64 `json:"lines"`
	}{head.Line}
	return tx.Audit(Line{Actor: self, Action: actionChained, Detail: detail})
}

// advance moves the head to the next line, l. The error is Altered and names the line if
// l does not follow the head, or if l is line first or a later one and has not the right
// hash.
func (h *TrailHead) advance(l storedLine, first int64) error {
	if l.number != h.Line+1 {
		return events.Errorf(events.Altered, "%s missing in the audit trail", lines(h.Line+1, l.number-1))
	}
	previous := h.Hash
	if h.Line == 0 {
		previous = events.NoHash
	}
	h.Line, h.Hash = l.number, l.digest(previous)
	switch {
	case l.number < first || l.hash == h.Hash:
		return nil
	case l.number == first && first > 1: // its hash covers lines without a hash
		return events.Errorf(events.Altered, "one of the lines 1 to %d of the audit trail was changed: they do not match the hash in line %[1]d", l.number)
	default:
		return events.Errorf(events.Altered, "line %d of the audit trail was changed: it does not match its hash", l.number)
	}
}

// lines returns a subject and its verb, such as "lines 2 to 4 are".
func lines(from, to int64) string {
	if from >= to {
		return fmt.Sprintf("line %d is", from)
	}
	return fmt.Sprintf("lines %d to %d are", from, to)
}

// VerifyTrail reads the whole audit trail. It returns its head and the head that was
// published last. The error is Altered and names what is wrong: a line that was changed
// or is missing, a published head that is not in the trail, or state that names a line
// that is not there.
//
// The published head and the state show that an end was cut off. VerifyTrail cannot find
// that lines after the published head were cut off, if the state that names them was
// changed too.
func (l *Ledger) VerifyTrail(ctx context.Context) (head, published TrailHead, err error) {
	// Lines may be added meanwhile, because this is no transaction. So what the trail
	// must contain is read before the trail.
	first, err := l.firstHashed(ctx)
	if err == nil {
		published, err = publishedTrail(ctx, l.DB.Reader)
	}
	var named []namedLine
	if err == nil {
		named, err = l.linesNamedByState(ctx)
	}
	if err == nil {
		head, err = l.walkTrail(ctx, first, published)
	}
	if err == nil {
		err = head.checkEnd(first, published, named)
	}
	if err != nil && events.CodeOf(err) != events.Altered {
		err = fmt.Errorf("verify audit trail: %w", err)
	}
	return head, published, err
}

// firstHashed returns the number of the first line that has a hash. The error is Altered
// if it is not stored.
func (l *Ledger) firstHashed(ctx context.Context) (int64, error) {
	var setting string
	err := l.DB.Reader.QueryRowContext(ctx, `select value from settings where name = ?`, chainSetting).Scan(&setting)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	first, err := strconv.ParseInt(setting, 10, 64)
	if err != nil || first < 1 {
		return 0, events.Errorf(events.Altered, "the setting that names the first line of the audit trail's chain is missing")
	}
	return first, nil
}

// walkTrail reads all lines and returns the trail's head. The error is Altered if a line
// is missing, a line from number first on has not the right hash, or the line of the
// published head has another hash. It does not find that the end is missing; checkEnd
// does.
func (l *Ledger) walkTrail(ctx context.Context, first int64, published TrailHead) (head TrailHead, err error) {
	var moment string
	err = database.Each(ctx, l.DB.Reader, func(row database.Row) error {
		line, err := scanLine(row)
		if err != nil {
			return err
		}
		moment = line.time
		if err := head.advance(line, first); err != nil {
			return err
		}
		if head.Line == published.Line && head.Hash != published.Hash {
			return events.Errorf(events.Altered, "line %d of the audit trail is not the one whose hash was published at %s: the trail was written anew",
				head.Line, events.FormatTime(published.Time))
		}
		return nil
	}, `select `+storedColumns+` from audit a order by a.row`)
	if err == nil && head.Line > 0 {
		head.Time, err = events.ParseTime(moment)
	}
	return head, err
}

// checkEnd returns an Altered Error if the trail, whose head is h, ends before a line that
// is known to have existed: the published one, the first one with a hash, or one that
// state names.
func (h TrailHead) checkEnd(first int64, published TrailHead, named []namedLine) error {
	if h.Line < published.Line {
		return events.Errorf(events.Altered, "the audit trail ends with line %d, but line %d was published at %s: %s missing",
			h.Line, published.Line, events.FormatTime(published.Time), lines(h.Line+1, published.Line))
	}
	if h.Line < first-1 {
		return events.Errorf(events.Altered, "the audit trail ends with line %d, but its chain begins with line %d", h.Line, first)
	}
	for _, s := range named {
		if s.line > h.Line {
			return events.Errorf(events.Altered, "the audit trail ends with line %d, but %s names line %d: the end of the trail is missing",
				h.Line, s.what, s.line)
		}
	}
	return nil
}

// namedLine is the highest line that the rows of one table name.
type namedLine struct {
	what string // what a row of the table is, for the error
	line int64  // 0 for none
}

// linesNamedByState returns, for each table whose rows name lines, the highest of them.
func (l *Ledger) linesNamedByState(ctx context.Context) ([]namedLine, error) {
	return database.List(ctx, l.DB.Reader, func(row database.Row) (s namedLine, err error) {
		return s, row.Scan(&s.what, &s.line)
	}, `
		select 'a PI', coalesce(max(line), 0) from people
		union all select 'a grant', coalesce(max(line), 0) from grants
		union all select 'a source', coalesce(max(line), 0) from sources
		union all select 'a grant of a source', coalesce(max(line), 0) from source_grants
		union all select 'a partner', coalesce(max(line), 0) from partners
		union all select 'a key', coalesce(max(line), 0) from keys
		union all select 'a key rotation', coalesce(max(line), 0) from key_rotations
		union all select 'the clock', coalesce(max(line), 0) from clock`)
}

// publishedTrail returns the trail head in the last event that has one, published or
// not. Its Time is that of the event. It is the zero TrailHead where there is none.
func publishedTrail(ctx context.Context, q queryer) (head TrailHead, err error) {
	var data []byte
	var at string
	err = q.QueryRowContext(ctx, `
		select e.data, e.time
		from events e
		join studies s on s.row = e.study
		where s.study = ? and e.kind = ?
		order by e.sequence desc
		limit 1`, events.AccessStudy, string(events.AccessAudited)).Scan(&data, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return head, nil
	}
	if err != nil {
		return head, fmt.Errorf("look up the published head of the audit trail: %w", err)
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return head, fmt.Errorf("read the published head of the audit trail: %w", err)
	}
	head.Time, err = events.ParseTime(at)
	return head, err
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// AnnounceTrail appends an event with the head of the audit trail to the access events,
// and reports whether it did. It does not if the last such event has the same head or is
// younger than the interval. An event from the future, of a clock that was ahead, does
// not count as younger.
func (l *Ledger) AnnounceTrail(ctx context.Context, interval time.Duration) (head TrailHead, announced bool, err error) {
	err = l.Update(ctx, "announce the head of the audit trail", func(tx *Tx) error {
		head, announced = TrailHead{}, false
		if err := tx.readTrail(); err != nil {
			return err
		}
		last, err := publishedTrail(context.WithoutCancel(ctx), tx)
		if err != nil || last.Hash == tx.trail.Hash {
			return err
		}
		if age := tx.Now.Sub(last.Time); last.Line > 0 && age >= 0 && age < interval {
			return nil
		}
		var moment string
		if err := tx.QueryRow(`select time from audit where row = ?`, tx.trail.Line).Scan(&moment); err != nil {
			return err
		}
		head = tx.trail
		if head.Time, err = events.ParseTime(moment); err != nil {
			return err
		}
		announced = true
		return tx.announce(head)
	})
	return head, announced && err == nil, err
}

// announce appends the event with the head to the access events.
func (tx *Tx) announce(head TrailHead) error {
	data, err := json.Marshal(head)
	if err != nil {
		return err
	}
	chain, err := tx.OpenChain(events.AccessStudy)
	if err != nil {
		return err
	}
	subject := fmt.Sprintf("Audit/%d", head.Line)
	if _, _, err := chain.Append(events.AccessAudited, subject, "Audit", data); err != nil {
		return err
	}
	return chain.Close()
}
