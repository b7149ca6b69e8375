package subscriber_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	_ "github.com/mattn/go-sqlite3"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

// archive keeps reports in SQLite, and how far it has read beside them.
type archive struct{ db *sql.DB }

const tables = `
create table if not exists bookmark (
  study text primary key,
  number integer not null,
  hash text not null,
  sequence integer not null
) strict;
create table if not exists event (
  study text not null,
  number integer not null,
  kind text not null,
  subject text not null,
  report blob not null,
  primary key (study, number)
) strict`

func openArchive(path string) (*archive, error) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_txlock=immediate&_journal_mode=wal&_synchronous=full&_busy_timeout=5000")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(tables)
	return &archive{db}, err
}

// Resume returns the bookmark that was stored with the last event.
func (a *archive) Resume(ctx context.Context, study string) (b subscriber.Bookmark, err error) {
	err = a.db.QueryRowContext(ctx, `select number, hash, sequence from bookmark where study = ?`, study).
		Scan(&b.Number, &b.Hash, &b.StreamSequence)
	if errors.Is(err, sql.ErrNoRows) {
		return subscriber.Bookmark{}, nil
	}
	return b, err
}

// Handle stores the event and its bookmark in one transaction: that makes the
// effect of each event happen exactly once, whenever this program is killed.
func (a *archive) Handle(ctx context.Context, d subscriber.Delivery) error {
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	moved, err := tx.ExecContext(ctx, `
		insert into bookmark (study, number, hash, sequence) values (?1, ?2, ?3, ?4)
		on conflict do update set number = ?2, hash = ?3, sequence = ?4
		where number = ?2 - 1`,
		d.Study, d.Bookmark.Number, d.Bookmark.Hash, d.Bookmark.StreamSequence)
	if err != nil {
		return err
	}
	if n, err := moved.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, subscriber.ErrMoved) // by another process on the same database
	}
	_, err = tx.ExecContext(ctx, `insert into event (study, number, kind, subject, report) values (?, ?, ?, ?, ?)`,
		d.Study, d.Bookmark.Number, d.Kind, d.Event.Subject(), d.Report)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	fmt.Println(d.Bookmark.Number, d.Kind, d.Event.Subject())
	return nil
}

// A partner stores the events of a study in SQLite, each exactly once. Here it
// ends when it has all events; Follow continues instead, until ctx ends.
func Example_partner() {
	publisher := openPublisher(3) // stands for the publisher of three events of study C3861001
	defer publisher.close()

	ctx := context.Background()
	reports, err := openArchive(publisher.dir + "/reports.db")
	if err != nil {
		log.Fatal(err)
	}
	defer reports.db.Close()
	partner, err := subscriber.Dial(ctx, subscriber.Credentials{
		TokenURL: publisher.tokenURL,                          // https://…/oauth2/token
		ClientID: "acme",                                      // from the publisher
		Secret:   subscriber.SecretFile(publisher.secretFile), // read whenever an access token is due
	}, publisher.natsURL, subscriber.PartnerConfig{}) // tls://…
	if err != nil {
		log.Fatal(err)
	}
	defer partner.Close()

	err = partner.CatchUp(ctx, "C3861001", reports)
	switch {
	case errors.Is(err, subscriber.ErrAccessEnded):
		log.Fatal("ask the publisher: ", err)
	case errors.Is(err, events.Ahead):
		log.Fatal("an older log was restored: ", err)
	case errors.Is(err, events.Gap), errors.Is(err, events.Altered), errors.Is(err, events.Repeat), errors.Is(err, events.Reorder):
		log.Fatal("these are not the events that were signed: ", err)
	case err != nil:
		log.Fatal(err) // the database's
	}
	// Output:
	// 1 diagnosticreport.signed.v1 DiagnosticReport/1/_history/1
	// 2 diagnosticreport.signed.v1 DiagnosticReport/2/_history/2
	// 3 diagnosticreport.signed.v1 DiagnosticReport/3/_history/3
}
