package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
)

// Line is a line of the audit trail to be written.
type Line struct {
	Time    time.Time // Defaults to the transaction's Now.
	Actor   string
	Action  string
	Study   string // id
	Subject string
	Version int64 // versions.row, 0 for none
	Detail  any   // becomes a JSON object

	// Address is the IP address of the client. Defaults to the address of
	// WithAddress. Other text than an IP address is left out of the line.
	Address string
}

// origin is where a line of the audit trail was written.
type origin struct {
	account string // of the operating system; empty in lines of older versions, like host
	host    string
	process int64  // its id
	address string // IP address of the client, over HTTP
}

// thisProcess returns the origin of what this process writes.
func thisProcess() origin {
	o := origin{account: "uid " + strconv.Itoa(os.Getuid()), process: int64(os.Getpid())}
	if u, err := user.Current(); err == nil {
		o.account = cmp.Or(u.Username, o.account)
	}
	o.host, _ = os.Hostname() // a host without a name has none in the trail
	return o
}

type addressKey struct{}

// WithAddress returns a context in which lines of the audit trail have the IP
// address of a client. Any other text, such as "local", is left out.
func WithAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// addressOf returns the IP address of WithAddress; "" for none.
func addressOf(ctx context.Context) string {
	text, _ := ctx.Value(addressKey{}).(string)
	return normalizeAddress(text)
}

// normalizeAddress returns the IP address, without a port; "" for other text.
func normalizeAddress(text string) string {
	address, err := netip.ParseAddr(text)
	if err != nil {
		both, err := netip.ParseAddrPort(text)
		if err != nil {
			return ""
		}
		address = both.Addr()
	}
	return address.Unmap().String()
}

// TrailHead identifies the last line of the audit trail. Its hash covers all
// lines. The zero TrailHead stands before the first line.
type TrailHead struct {
	Line int64     `json:"line"` // number of the line; 0 for none
	Hash string    `json:"hash"`
	Time time.Time `json:"time"` // of the line
}

// storedLine is a line as it is in the database and as its hash covers it.
type storedLine struct {
	number  int64
	time    string
	actor   string
	action  string
	study   string
	subject string
	version int64 // 0 for none
	detail  string
	origin
	hash string // empty in lines of versions that wrote no hashes
}

const storedColumns = `a.row, a.time, a.actor, a.action, a.study, a.subject, coalesce(a.version, 0), a.detail,
	a.account, a.host, a.process, a.address, a.hash`

func scanLine(row database.Row) (l storedLine, err error) {
	err = row.Scan(&l.number, &l.time, &l.actor, &l.action, &l.study, &l.subject, &l.version, &l.detail,
		&l.account, &l.host, &l.process, &l.address, &l.hash)
	return l, err
}

// digest returns the hash that the line must have. Previous is the hash of the line
// before, events.NoHash for the first line. The hash is the SHA-256, in lower-case hex,
// of a text: "signoff-audit/1" and a line feed, then for each field its length in bytes,
// a colon, its text and a line feed. The lengths keep two different lines from having
// the same text.
func (l *storedLine) digest(previous string) string {
	text := make([]byte, 0, 1024)
	text = append(text, "signoff-audit/1\n"...)
	for _, field := range [...]string{
		previous, strconv.FormatInt(l.number, 10), l.time, l.actor, l.action, l.study, l.subject,
		strconv.FormatInt(l.version, 10), l.detail, l.account, l.host, strconv.FormatInt(l.process, 10), l.address,
	} {
		text = strconv.AppendInt(text, int64(len(field)), 10)
		text = append(text, ':')
		text = append(text, field...)
		text = append(text, '\n')
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Audit adds a line to the audit trail.
func (tx *Tx) Audit(l Line) error {
	_, err := tx.AddLine(l)
	return err
}

// AddLine adds a line to the audit trail and returns its number. The caller stores that
// number in the row whose change the line records.
//
// The hash of the line before is read at most once in a transaction. The transaction has
// the write lock, so nobody else adds a line meanwhile. A sign-off reads the hash in the
// statement that loads what is to be signed, and passes it in Head.
func (tx *Tx) AddLine(l Line) (number int64, err error) {
	detail := []byte("{}")
	if l.Detail != nil {
		if detail, err = json.Marshal(l.Detail); err != nil {
			return 0, fmt.Errorf("audit: %w", err)
		}
	}
	if l.Time.IsZero() {
		l.Time = tx.Now
	}
	if err := tx.readTrail(); err != nil {
		return 0, err
	}
	stored := storedLine{
		number: tx.trail.Line + 1, time: events.FormatTime(l.Time), actor: l.Actor, action: l.Action,
		study: l.Study, subject: l.Subject, version: l.Version, detail: string(detail), origin: tx.Ledger.process,
	}
	stored.address = tx.address
	if l.Address != "" {
		stored.address = normalizeAddress(l.Address)
	}
	stored.hash = stored.digest(cmp.Or(tx.trail.Hash, events.NoHash))
	return stored.number, tx.insertLine(stored)
}

// insertLine stores the line and makes it the last one of the transaction.
func (tx *Tx) insertLine(l storedLine) error {
	_, err := tx.Exec(`
		insert into audit (row, time, actor, action, study, subject, version, detail, account, host, process, address, hash)
		values (?, ?, ?, ?, ?, ?, nullif(?, 0), ?, ?, ?, ?, ?, ?)`,
		l.number, l.time, l.actor, l.action, l.study, l.subject, l.version, l.detail,
		l.account, l.host, l.process, l.address, l.hash)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	tx.trail = TrailHead{Line: l.number, Hash: l.hash}
	return nil
}

// readTrail sets tx.trail to the number and the hash of the last line, unless the
// transaction has read or written them already.
func (tx *Tx) readTrail() error {
	if tx.trail.Line > 0 {
		return nil
	}
	err := tx.QueryRow(`
		select row, hash
		from audit
		order by row desc
		limit 1`).Scan(&tx.trail.Line, &tx.trail.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the end of the audit trail: %w", err)
	}
	return nil
}
