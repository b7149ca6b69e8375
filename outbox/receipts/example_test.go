package receipts_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/receipts"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// The broker reports that a partner has acknowledged the events of its own
// internal study, of which there is one: the grant.
func ExampleReceipts_Lags() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	check(err)
	defer os.RemoveAll(dir)
	o, err := outbox.Open(ctx, filepath.Join(dir, "outbox.db"), outbox.Config{})
	check(err)
	defer o.Close()
	_, err = o.Accounts().AddPartner(ctx, "operator", "acme", "Acme Ltd", []string{"FHIR-T"})
	check(err)
	pending, err := o.Source().Pending(ctx, 100)
	check(err)
	for i := range pending {
		pending[i].StreamSequence = uint64(i) + 1 // from the broker
	}
	check(o.Source().Record(ctx, pending))

	var recs *receipts.Receipts = o.Receipts()
	last := pending[len(pending)-1].StreamSequence
	check(recs.NoteReceipts(ctx, []events.Receipt{
		{Partner: "acme", Study: events.PartnerStudy("acme"), Delivered: last, Acknowledged: last},
	}))
	lags, err := recs.Lags(ctx)
	check(err)
	for _, l := range lags {
		fmt.Println(l.Partner, l.Study, "acknowledged", l.Acknowledged, "of", l.Last)
	}
	// Output:
	// acme _partner/acme acknowledged 1 of 1
	// acme FHIR-T acknowledged 0 of 0
}
