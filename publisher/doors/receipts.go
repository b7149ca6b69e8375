package doors

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
)

// note hands on how far the guests' consumers got, where that has changed since
// it was last handed on.
func (d *Doors) note(ctx context.Context, all map[string]guest) error {
	var news []events.Receipt
	for _, g := range all {
		for _, w := range g.wants() {
			e := d.stock[w.name]
			if e == nil || !e.seen || !w.fits(e.config) {
				continue
			}
			r := receiptOf(g.ID, w, e)
			d.floors[w.name] = r.Acknowledged
			if last := d.noted[w.name]; last.Delivered != r.Delivered || last.Acknowledged != r.Acknowledged {
				news = append(news, r)
			}
		}
	}
	if len(news) == 0 {
		return nil
	}
	if err := d.receipts.NoteReceipts(ctx, news); err != nil {
		return fmt.Errorf("keep receipts: %w", err)
	}
	for _, r := range news {
		d.noted[consumerOf(r)] = r
	}
	return nil
}

func receiptOf(partner string, w want, e *entry) events.Receipt {
	r := events.Receipt{Partner: partner, Study: w.token, Delivered: e.delivered, Acknowledged: e.acknowledged, At: e.asked.UTC()}
	if w.token == "" {
		r.Study = events.PartnerStudy(partner)
	}
	return r
}

// consumerOf names the consumer that a receipt is of.
func consumerOf(r events.Receipt) string {
	if r.Study == events.PartnerStudy(r.Partner) {
		return events.PartnerAccess(r.Partner)
	}
	return events.PartnerConsumer(r.Partner, r.Study)
}
