package accounts_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/accounts"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func exampleAccounts(ctx context.Context) (acc *accounts.Accounts, done func()) {
	dir, err := os.MkdirTemp("", "example")
	check(err)
	o, err := outbox.Open(ctx, filepath.Join(dir, "outbox.db"), outbox.Config{})
	check(err)
	return o.Accounts(), func() {
		check(o.Close())
		check(os.RemoveAll(dir))
	}
}

// An operator adds a PI, who chooses a password. Only that one signs in.
func ExampleAccounts_AddPI() {
	ctx := context.Background()
	acc, done := exampleAccounts(ctx)
	defer done()
	check(acc.AddPI(ctx, "operator", "dr.who", "Dr. Who", []string{"FHIR-T"}, "for the first time only"))

	_, err := acc.Authenticate(ctx, "dr.who", "for the first time only", "local")
	fmt.Println(err)
	check(acc.ChoosePassword(ctx, "dr.who", "for the first time only", "a password for the example", "local"))
	_, err = acc.Authenticate(ctx, "dr.who", "a wrong password", "local")
	fmt.Println(err)
	pi, err := acc.Authenticate(ctx, "dr.who", "a password for the example", "local")
	check(err)
	fmt.Println(pi.Name, pi.Studies)
	// Output:
	// this password of dr.who is only for choosing another one: signoff pi password dr.who
	// The user name or the password is wrong.
	// Dr. Who [FHIR-T]
}

// The former secret stays valid for an hour, in which the partner changes its
// programs to the new one.
func ExampleAccounts_RotatePartner() {
	ctx := context.Background()
	acc, done := exampleAccounts(ctx)
	defer done()
	former, err := acc.AddPartner(ctx, "operator", "acme", "Acme Ltd", []string{"FHIR-T"})
	check(err)
	secret, err := acc.RotatePartner(ctx, "operator", "acme", time.Hour)
	check(err)
	for _, s := range []string{former, secret} {
		partner, err := acc.AuthenticateClient(ctx, "acme", s, "192.0.2.1")
		fmt.Println(partner.ID, partner.Studies, err)
	}
	// Output:
	// acme [FHIR-T] <nil>
	// acme [FHIR-T] <nil>
}
