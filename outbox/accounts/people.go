package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/database"
	"github.com/seed-e88a4ece/signoff/outbox/internal/ledger"
)

// PI is a principal investigator, who may sign for the studies granted.
type PI struct {
	User     string   `json:"user"`
	Name     string   `json:"name"` // as printed beside a signature
	Studies  []string `json:"studies"`
	Disabled bool     `json:"disabled"`

	// Credential identifies the PI's password: it changes whenever another one is set,
	// by the PI or by an operator, and not when the same one is hashed anew. A session
	// in which it has changed is to end. That of Authenticate is of the password that it
	// has checked.
	Credential string `json:"-"`

	LastSignIn LastSignIn `json:"-"` // the one before this answer
	LastReset  time.Time  `json:"-"` // when an operator set a one-time password last; zero if that was before it was recorded
}

// LastSignIn is a sign-in with the right password. The zero value is none.
type LastSignIn struct {
	Time    time.Time
	Address string
}

// AddPI adds a PI with a one-time password, as ResetPassword sets one. The error is a
// Conflict if the user name, or one that differs from it in case only, was ever used.
// By is the operator, here and below.
func (acc *Accounts) AddPI(ctx context.Context, by, user, name string, studies []string, password string) error {
	if !events.ValidUser(user) {
		return events.Fieldf("user", "%q is not 1 to 64 of A-Z, a-z, 0-9 and . _ @ -", user)
	}
	if err := events.ValidPrintedName(name); err != nil {
		return err
	}
	studies, err := validStudies(studies)
	if err != nil {
		return err
	}
	if err := checkStrength(user, password); err != nil {
		return err
	}
	hashed, err := hash(password)
	if err != nil {
		return err
	}
	return acc.ledger.Administer(ctx, by, "add PI", func(tx *ledger.Tx) error {
		var used bool
		if err := tx.QueryRow(`select exists (select 1 from people where "user" = ? collate nocase)`, user).Scan(&used); err != nil {
			return err
		}
		if used {
			return events.Errorf(events.Conflict, "the user name %s was used before, perhaps in other case; choose another one", user)
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIAdded, Subject: user, Detail: PI{User: user, Name: name, Studies: studies}})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`
			insert into people ("user", name, password, one_time, reset, line)
			values (?, ?, ?, ?, ?, ?)`,
			user, name, hashed, events.FormatTime(tx.Now.Add(OneTimeFor)), events.FormatTime(tx.Now), line)
		if err != nil {
			return err
		}
		for _, study := range studies {
			if _, err := tx.Exec(`insert into grants ("user", study, line) values (?, ?, ?)`, user, study, line); err != nil {
				return err
			}
		}
		return nil
	})
}

// GrantPI lets a PI sign for a study. Granting again changes nothing.
func (acc *Accounts) GrantPI(ctx context.Context, by, user, study string) error {
	study, err := validStudy(study)
	if err != nil {
		return err
	}
	return acc.ledger.Administer(ctx, by, "grant study to PI", func(tx *ledger.Tx) error {
		if _, err := getPerson(tx, user); err != nil {
			return err
		}
		granted, err := hasGrant(tx, user, study)
		if err != nil || granted {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIGranted, Study: study, Subject: user})
		if err != nil {
			return err
		}
		result, err := tx.Exec(`update grants set revoked = '', line = ? where "user" = ? and study = ?`, line, user, study)
		if err != nil || ledger.ChangedOne(result) {
			return err
		}
		_, err = tx.Exec(`insert into grants ("user", study, line) values (?, ?, ?)`, user, study, line)
		return err
	})
}

// RevokePI revokes a PI's grant for a study. The error is NotFound if there is no
// such grant.
func (acc *Accounts) RevokePI(ctx context.Context, by, user, study string) error {
	study = ledger.NormalizeStudy(study)
	return acc.ledger.Administer(ctx, by, "revoke study of PI", func(tx *ledger.Tx) error {
		if _, err := getPerson(tx, user); err != nil {
			return err
		}
		granted, err := hasGrant(tx, user, study)
		if err != nil {
			return err
		}
		if !granted {
			return events.Errorf(events.NotFound, "%s has no grant for study %s", user, study)
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIRevoked, Study: study, Subject: user})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update grants set revoked = ?, line = ? where "user" = ? and study = ?`, events.FormatTime(tx.Now), line, user, study)
		return err
	})
}

// hasGrant reports whether the PI may sign for the study. A grant that was
// revoked has a row still.
func hasGrant(tx *ledger.Tx, user, study string) (granted bool, err error) {
	err = tx.QueryRow(`select exists (select 1 from grants where "user" = ? and study = ? and revoked = '')`, user, study).Scan(&granted)
	return granted, err
}

// OneTimeFor is how long another password can be chosen with a one-time password. For as
// long, signatures are marked in the audit trail with the time at which it was set.
const OneTimeFor = 72 * time.Hour

// ResetPassword sets a random one-time password and returns it. The PI's own password is
// refused from then on. A lock after failed sign-ins ends. For 72 hours the one-time
// password is accepted by ChoosePassword, and never by anything else. An operator could
// choose a password with it and sign as the PI. So signatures of these 72 hours are
// marked in the audit trail.
func (acc *Accounts) ResetPassword(ctx context.Context, by, user string) (password string, err error) {
	password = rand.Text()
	hashed, err := hash(password)
	if err != nil {
		return "", err
	}
	err = acc.ledger.Administer(ctx, by, "reset password", func(tx *ledger.Tx) error {
		p, err := getPerson(tx, user)
		if err != nil {
			return err
		}
		until := events.FormatTime(tx.Now.Add(OneTimeFor))
		detail := struct {
			Until string `json:"until"`
		}{until}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIReset, Subject: user, Detail: detail})
		if err != nil {
			return err
		}
		return replacePassword(tx, line, p, hashed, until, events.FormatTime(tx.Now))
	})
	if err != nil {
		return "", err
	}
	return password, nil
}

// ChoosePassword sets the password that the PI chose, in place of the present one, which
// may be a one-time password. Errors about the present one are those of Authenticate,
// and Expired for a one-time password after its 72 hours. The error is Invalid if the new
// one is short, made from the user name, a repetition, a sequence, a common word with
// digits, the present one, or one of the last five that the PI chose.
func (acc *Accounts) ChoosePassword(ctx context.Context, user, present, password, address string) error {
	if err := checkStrength(user, password); err != nil {
		return err
	}
	ctx = ledger.WithAddress(ctx, address)
	a, p, _, err := acc.identify(ctx, user, address)
	if err != nil {
		return err
	}
	if _, err := acc.checkPassword(ctx, a, p, present); err != nil {
		return err
	}
	if p.OneTime != "" && p.OneTime <= events.FormatTime(acc.ledger.Now()) {
		return acc.refuse(ctx, a, "expired one-time password", events.Errorf(events.Expired,
			"the one-time password of %s has expired; ask the operator for another one: signoff pi reset %[1]s", user))
	}
	if err := acc.refuseFormer(ctx, p, password); err != nil {
		return err
	}
	hashed, err := hash(password)
	if err != nil {
		return err
	}
	return acc.ledger.Update(ctx, "set password", func(tx *ledger.Tx) error {
		now, err := getPerson(tx, user)
		if err != nil {
			return err
		}
		if now.password != p.password || now.Disabled != "" { // since it was checked, before the transaction
			return events.Errorf(events.Conflict, "the password of %s was changed just now; try again", user)
		}
		line, err := tx.AddLine(ledger.Line{Actor: user, Action: actionPIPassword, Subject: user})
		if err != nil {
			return err
		}
		return replacePassword(tx, line, now, hashed, "", p.Reset)
	})
}

// formerPasswords is how many of the last passwords that the PI chose may not be chosen
// again.
const formerPasswords = 5

// replacePassword stores the hash of a password with the number of its line of the audit
// trail. It keeps the former hash if the PI chose that password, and at most five such
// hashes. It ends locks of the PI after failed sign-ins.
func replacePassword(tx *ledger.Tx, line int64, p person, hashed, oneTime, reset string) error {
	if p.OneTime == "" {
		if _, err := tx.Exec(`insert into former_passwords ("user", password, line) values (?, ?, ?)`, p.user, p.password, line); err != nil {
			return err
		}
		_, err := tx.Exec(`
			delete from former_passwords
			where "user" = ? and row not in (
				select row
				from former_passwords
				where "user" = ?
				order by row desc
				limit +?
			)`, p.user, p.user, formerPasswords)
		if err != nil {
			return err
		}
	}
	if _, err := tx.Exec(`update people set password = ?, one_time = ?, reset = ?, line = ? where "user" = ?`, hashed, oneTime, reset, line, p.user); err != nil {
		return err
	}
	_, err := tx.Exec(`delete from failures where kind = 'user' and name = ?`, p.user)
	return err
}

// refuseFormer returns an Invalid Error if the password is the present one or one of the
// last five that the PI chose.
func (acc *Accounts) refuseFormer(ctx context.Context, p person, password string) error {
	most := formerPasswords
	if p.OneTime == "" {
		most-- // the PI chose the present one, so that is one of the five
	}
	former, err := database.List(ctx, acc.ledger.DB.Reader, database.Value[string], `
		select password
		from former_passwords
		where "user" = ?
		order by row desc
		limit +?`, p.user, most)
	if err != nil {
		return fmt.Errorf("list former passwords: %w", err)
	}
	done, err := acc.passwords.wait(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, stored := range append(former, p.password) {
		if same, err := check(password, stored); err == nil && same { // a hash that cannot be checked is passed over: no sign-in accepts its password either
			return events.Fieldf("password", "must differ from the last %d and from the present one", formerPasswords)
		}
	}
	return nil
}

// DisablePI disables a PI for ever, who can then not sign any more. Disabling again changes nothing.
func (acc *Accounts) DisablePI(ctx context.Context, by, user string) error {
	return acc.ledger.Administer(ctx, by, "disable PI", func(tx *ledger.Tx) error {
		p, err := getPerson(tx, user)
		if err != nil || p.Disabled != "" {
			return err
		}
		line, err := tx.AddLine(ledger.Line{Actor: by, Action: actionPIDisabled, Subject: user})
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update people set disabled = ?, line = ? where "user" = ?`, events.FormatTime(tx.Now), line, user)
		return err
	})
}

// PIs returns all PIs, by user name.
func (acc *Accounts) PIs(ctx context.Context) ([]PI, error) {
	var people []person
	err := database.Each(ctx, acc.ledger.DB.Reader, func(row database.Row) error {
		var p person
		if err := p.scan(row); err != nil {
			return err
		}
		if n := len(people); n > 0 && people[n-1].user == p.user {
			people[n-1].studies = append(people[n-1].studies, p.studies...)
		} else {
			people = append(people, p)
		}
		return nil
	}, `
		select `+personColumns+`
		from people p`+joinPerson+`
		order by p."user", g.study`)
	if err != nil {
		return nil, fmt.Errorf("list PIs: %w", err)
	}
	out := make([]PI, len(people))
	for i, p := range people {
		if out[i], err = p.describe(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// describe returns the PI with the studies granted.
func (p person) describe() (pi PI, err error) {
	pi = PI{User: p.user, Name: p.name, Studies: append([]string{}, p.studies...), Disabled: p.Disabled != "", Credential: p.credential()}
	if p.signedIn != "" {
		pi.LastSignIn.Address = p.signedInFrom
		if pi.LastSignIn.Time, err = events.ParseTime(p.signedIn); err != nil {
			return PI{}, fmt.Errorf("read the last sign-in: %w", err)
		}
	}
	if p.Reset != "" {
		if pi.LastReset, err = events.ParseTime(p.Reset); err != nil {
			return PI{}, fmt.Errorf("read the last reset: %w", err)
		}
	}
	return pi, nil
}

// person is a PI as stored.
type person struct {
	user     string
	name     string
	password string // the hash
	StoredCredential

	signedIn, signedInFrom string // the last sign-in

	studies []string // that are granted
}

// personColumns are the columns that person.scan reads, and joinPerson joins their tables to
// people p. There is a row for each study that is granted, and one if none is.
const (
	personColumns = `coalesce(p."user", ''), coalesce(p.name, ''), coalesce(p.password, ''), coalesce(s.time, ''), coalesce(s.address, ''),
		coalesce(g.study, ''), ` + StoredColumns
	joinPerson = `
		left join sign_ins s on s."user" = p."user"
		left join grants g on g."user" = p."user" and g.revoked = ''`
)

// scan reads a row of a PI, with further columns into more. It adds the study of the row to
// those that are granted.
func (p *person) scan(row database.Row, more ...any) error {
	var study string
	columns := append([]any{&p.user, &p.name, &p.password, &p.signedIn, &p.signedInFrom, &study}, p.Columns()...)
	if err := row.Scan(append(columns, more...)...); err != nil {
		return err
	}
	if study != "" {
		p.studies = append(p.studies, study)
	}
	return nil
}

// StoredCredential is what identifies the password of a stored PI, and whether the PI may
// use it. Other packages read it with what else they need of a PI, in one statement.
type StoredCredential struct {
	Disabled string // when the PI was disabled; empty where the PI is not
	OneTime  string // until when a one-time password is accepted; empty where the PI chose the password
	Reset    string // when an operator set a one-time password last

	line int64 // of the audit trail, by which the last password that the PI chose was replaced; 0 where none was
}

// StoredColumns are the columns of people p that are scanned into Columns. The row of p
// may be null.
const StoredColumns = `coalesce(p.disabled, ''), coalesce(p.one_time, ''), coalesce(p.reset, ''),
		(select coalesce(max(f.line), 0) from former_passwords f where f."user" = p."user")`

// Columns returns where StoredColumns are scanned to.
func (c *StoredCredential) Columns() []any { return []any{&c.Disabled, &c.OneTime, &c.Reset, &c.line} }

// credential returns PI.Credential. Each choice of a password by the PI either ends a
// one-time password or stores the line by which a former one was replaced.
func (c StoredCredential) credential() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d", c.OneTime, c.Reset, c.line))
	return hex.EncodeToString(sum[:])
}

// Check returns an Unauthenticated Error unless the user, who was authenticated before the
// transaction, still has the password that the credential identifies and is not disabled. An
// empty credential is not compared.
func (c StoredCredential) Check(user, credential string) error {
	if credential != "" && (c.credential() != credential || c.Disabled != "") {
		return events.Errorf(events.Unauthenticated, "the password of %s was changed just now, or the PI was disabled; sign in again", user)
	}
	return nil
}

// getPerson returns the stored PI. The error is NotFound if there is none.
func getPerson(tx *ledger.Tx, user string) (person, error) {
	p, err := findPerson(context.Background(), tx, user)
	if err == nil && p.user == "" {
		err = unknownPI(user)
	}
	return p, err
}

// findPerson returns the stored PI, without a user name if there is none.
func findPerson(ctx context.Context, q database.Querier, user string) (p person, err error) {
	err = database.Each(ctx, q, func(row database.Row) error { return p.scan(row) }, `
		select `+personColumns+`
		from people p`+joinPerson+`
		where p."user" = +?
		order by g.study`, user)
	return p, err
}

func unknownPI(user string) error { return events.Errorf(events.NotFound, "there is no PI %q", user) }

// validStudy returns the study id normalised, and an error if it is malformed.
func validStudy(study string) (string, error) {
	study = ledger.NormalizeStudy(study)
	return study, events.ValidStudy(study)
}

// validStudies returns the study ids normalised, sorted, each once. It returns an error
// if one is malformed.
func validStudies(studies []string) ([]string, error) {
	out := make([]string, len(studies))
	for i, s := range studies {
		var err error
		if out[i], err = validStudy(s); err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
