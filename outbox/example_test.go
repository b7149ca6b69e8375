package outbox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
)

// A host that keeps its work list in the outbox's file closes a task in the
// very transaction that signs the assessment: both happen, or neither.
func ExampleOutbox_SignOffTx() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	o, err := outbox.Open(ctx, filepath.Join(folder, "outbox.db"), outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()
	if err := o.Accounts().AddPI(ctx, "operator", "dr.who", "Dr. Who", []string{"FHIR-T"}, "a password for the example"); err != nil {
		log.Fatal(err)
	}
	_, err = o.Register(ctx, "operator", []events.Submission{{Assessment: assessment("790", 163, 5, 1)}})
	if err != nil {
		log.Fatal(err)
	}
	db := o.DB().Writer
	db.MustExec(`create table tasks (assessment text primary key, done text) strict`)
	db.MustExec(`insert into tasks (assessment) values ('790')`)

	// The transaction of the host.
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() // does nothing after a commit
	signed, err := o.SignOffTx(ctx, tx, outbox.SignOff{
		User:    "dr.who", // whom the host has authenticated
		Meaning: "I have reviewed and approve this assessment",
		IDs:     []string{"790"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := tx.Exec(`update tasks set done = ? where assessment = ?`, signed[0].Event, signed[0].ID); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	o.Wake() // the publisher need not find out by itself

	var done int
	if err := db.Get(&done, `select count(*) from tasks join events on events.id = tasks.done`); err != nil {
		log.Fatal(err)
	}
	fmt.Println(signed[0].Kind, "number", signed[0].Sequence, "by", signed[0].Signature.Name, "- tasks done:", done)
	// Output:
	// diagnosticreport.signed.v1 number 1 by Dr. Who - tasks done: 1
}
