package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-e88a4ece/signoff/events"
)

// Whatever is granted, revoked and heard of, in whatever order: a receipt is
// the most that was heard of since the grant.
func TestReceiptsAreTheMostHeardOfSinceTheGrant(t *testing.T) {
	d := newOutbox(t)
	partners := 0
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		partners++
		id := fmt.Sprint("p", partners)
		if _, err := d.Accounts().AddPartner(ctx, operator, id, "", nil); err != nil {
			t.Fatal(err)
		}
		granted, want := false, events.Receipt{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			d.clock.advance(time.Second)
			step := rapid.SampledFrom([]string{"grant", "revoke", "news", "news", "news", "old news"}).Draw(t, "step")
			news := events.Receipt{Partner: id, Study: "A", At: d.clock.now()}
			news.Delivered = rapid.Uint64Range(0, 9).Draw(t, "delivered")
			news.Acknowledged = rapid.Uint64Range(0, news.Delivered).Draw(t, "acknowledged")
			var err error
			switch step {
			case "grant":
				err = d.Accounts().GrantPartner(ctx, operator, id, "A")
				granted = true
			case "revoke":
				err = d.Accounts().RevokePartner(ctx, operator, id, "A")
				if !granted && errors.Is(err, events.NotFound) {
					err = nil
				}
				granted, want = false, events.Receipt{}
			case "news":
				err = d.Receipts().NoteReceipts(ctx, []events.Receipt{news})
				if granted {
					want.Delivered, want.Acknowledged = max(want.Delivered, news.Delivered), max(want.Acknowledged, news.Acknowledged)
				}
			case "old news":
				news.At = news.At.Add(-time.Hour)
				err = d.Receipts().NoteReceipts(ctx, []events.Receipt{news})
			}
			if err != nil {
				t.Fatal(err)
			}
			var got events.Receipt
			all, err := d.Receipts().Receipts(ctx)
			for _, r := range all {
				if r.Partner == id && r.Study == "A" {
					got = r
				}
			}
			if err != nil || got.Delivered != want.Delivered || got.Acknowledged != want.Acknowledged || (got.Partner == id) != granted {
				t.Fatalf("after %s: %+v, want %+v; %v", step, got, want, err)
			}
		}
	})
}
