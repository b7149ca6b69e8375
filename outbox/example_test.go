package outbox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts/accountstest"
	"github.com/seed-e88a4ece/signoff/outbox/review"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// exampleOutbox opens an outbox in which Dr. Who may sign for study FHIR-T.
func exampleOutbox(ctx context.Context) (o *outbox.Outbox, done func()) {
	dir, err := os.MkdirTemp("", "example")
	check(err)
	o, err = outbox.Open(ctx, filepath.Join(dir, "outbox.db"), outbox.Config{})
	check(err)
	check(accountstest.AddPI(ctx, o.Accounts(), "operator", "dr.who", "Dr. Who", []string{"FHIR-T"}, "a password for the example"))
	return o, func() {
		check(o.Close())
		check(os.RemoveAll(dir))
	}
}

func register(ctx context.Context, o *outbox.Outbox, ids ...string) {
	for _, id := range ids {
		results, err := o.Register(ctx, "operator", []events.Submission{{Assessment: assessment(id, 163, 5, 1)}})
		check(err)
		if results[0].Err != nil {
			log.Fatal(results[0].Err)
		}
	}
}

func sign(ctx context.Context, o *outbox.Outbox, ids ...string) []outbox.Signed {
	signed, err := o.SignOff(ctx, outbox.SignOff{User: "dr.who", Meaning: "I approve this assessment", IDs: ids})
	check(err)
	return signed
}

// Run works in the background, until its context ends.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	check(err)
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	o, err := outbox.Open(ctx, filepath.Join(dir, "outbox.db"), outbox.Config{})
	check(err)
	ended := make(chan error)
	go func() { ended <- o.Run(ctx) }()

	fmt.Println("writable:", o.Ping(ctx) == nil)
	stop()
	check(<-ended)
	check(o.Close())
	// Output:
	// writable: true
}

func ExampleOutbox_SignOff() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	results, err := o.Register(ctx, "edc", []events.Submission{{Assessment: assessment("790", 163, 5, 1)}})
	check(err)
	fmt.Println(results[0].ID, results[0].Outcome)

	pi, err := o.Accounts().Authenticate(ctx, "dr.who", "a password for the example", "local")
	check(err)
	request := outbox.SignOff{User: pi.User, Meaning: "I approve this assessment", IDs: []string{"790"}}
	signed, err := o.SignOff(ctx, request)
	check(err)
	fmt.Println(signed[0].Kind, "number", signed[0].Sequence)

	again, err := o.SignOff(ctx, request) // after a lost connection, for instance
	check(err)
	fmt.Println("the same event:", again[0].Event == signed[0].Event)
	// Output:
	// 790 taken
	// diagnosticreport.signed.v1 number 1
	// the same event: true
}

func ExampleOutbox_Withdraw() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	register(ctx, o, "790")
	sign(ctx, o, "790")

	withdrawn, err := o.Withdraw(ctx, outbox.Withdrawal{User: "dr.who", ID: "790", Meaning: "I withdraw it.", Reason: "wrong scan"})
	check(err)
	fmt.Println(withdrawn.Kind, "number", withdrawn.Sequence)
	// Output:
	// diagnosticreport.withdrawn.v1 number 2
}

func ExampleOutbox_Reviews() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	register(ctx, o, "790", "791")
	sign(ctx, o, "790")

	waiting, err := o.Reviews().Waiting(ctx, review.WaitingFilter{Study: "FHIR-T"})
	check(err)
	for _, w := range waiting {
		fmt.Println(w.Assessment.ID, "registered by", w.By)
	}
	// Output:
	// 791 registered by operator
}

func ExampleOutbox_Audit() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	register(ctx, o, "790")
	sign(ctx, o, "790")

	err := o.Audit(ctx, outbox.AuditFilter{Study: "FHIR-T"}, func(e outbox.AuditEntry) error {
		fmt.Println(e.Number, e.Actor, e.Action, e.Subject)
		return nil
	})
	check(err)
	// Output:
	// 3 operator assessment.registered 790
	// 4 dr.who assessment.signed 790
}

// An auditor keeps the number and the hash of the last line: they cover all lines
// up to it.
func ExampleOutbox_VerifyTrail() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	register(ctx, o, "790")
	sign(ctx, o, "790")

	head, _, err := o.VerifyTrail(ctx)
	check(err)
	fmt.Println("complete and unchanged up to line", head.Line)
	// Output:
	// complete and unchanged up to line 4
}

// The publisher reads pending events, publishes them, and records the stream
// sequences with which the broker acknowledged them.
func ExampleSource() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	register(ctx, o, "790")
	sign(ctx, o, "790")

	source := o.Source()
	pending, err := source.Pending(ctx, 100)
	check(err)
	for i := range pending {
		pending[i].StreamSequence = uint64(i) + 1 // from the broker
		fmt.Println(pending[i].Event.NATSSubject())
	}
	check(source.Record(ctx, pending))
	head, err := source.Head(ctx)
	check(err)
	fmt.Println("published up to", head.StreamSequence)
	// Output:
	// crit.v1.FHIR-T.DiagnosticReport.signed
	// published up to 1
}

// A host that keeps its work list in the outbox's file closes a task in the
// very transaction that signs the assessment: both happen, or neither.
func ExampleOutbox_SignOffTx() {
	ctx := context.Background()
	o, done := exampleOutbox(ctx)
	defer done()
	register(ctx, o, "790")
	db := o.DB().Writer
	db.MustExec(`create table tasks (assessment text primary key, done text) strict`)
	db.MustExec(`insert into tasks (assessment) values ('790')`)

	// The transaction of the host.
	tx, err := db.BeginTxx(ctx, nil)
	check(err)
	defer tx.Rollback() // does nothing after a commit
	signed, err := o.SignOffTx(ctx, tx, outbox.SignOff{
		User:    "dr.who", // authenticated by the host
		Meaning: "I have reviewed and approve this assessment",
		IDs:     []string{"790"},
	})
	check(err)
	_, err = tx.Exec(`update tasks set done = ? where assessment = ?`, signed[0].Event, signed[0].ID)
	check(err)
	check(tx.Commit())
	o.Wake()

	var closed int
	check(db.QueryRow(`select count(*) from tasks join events on events.id = tasks.done`).Scan(&closed))
	fmt.Println(signed[0].Kind, "number", signed[0].Sequence, "by", signed[0].Signature.Name, "- tasks done:", closed)
	// Output:
	// diagnosticreport.signed.v1 number 1 by Dr. Who - tasks done: 1
}
