package partners

import (
	"context"
	"fmt"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// storeReceipts stores how far partners have read, where that has changed since it was
// last stored. It also updates r.acknowledged, after which lost consumers start.
func (r *Reconciler) storeReceipts(ctx context.Context, granted map[string]tenancy.Partner) error {
	var changed []events.Receipt
	for _, p := range granted {
		for _, w := range p.Consumers() {
			c := r.consumers[w.Name]
			if c == nil || !c.reported || !fits(c.config, w) {
				continue // its state is not known, or it must be deleted
			}
			receipt := receiptOf(p.ID, w, c)
			r.acknowledged[w.Name] = receipt.Acknowledged
			if last := r.storedReceipt[w.Name]; last.Delivered != receipt.Delivered || last.Acknowledged != receipt.Acknowledged {
				changed = append(changed, receipt)
			}
		}
	}
	if len(changed) == 0 {
		return nil
	}
	if err := r.receipts.NoteReceipts(ctx, changed); err != nil {
		return fmt.Errorf("store receipts: %w", err)
	}
	for _, receipt := range changed {
		r.storedReceipt[consumerOf(receipt)] = receipt
	}
	return nil
}

// receiptOf returns the receipt of the partner's consumer w with the state c.
func receiptOf(partner string, w tenancy.Consumer, c *consumerState) events.Receipt {
	receipt := events.Receipt{Partner: partner, Study: w.Key, Delivered: c.delivered, Acknowledged: c.acknowledged, At: c.asked.UTC()}
	if w.Key == "" {
		receipt.Study = events.PartnerStudy(partner)
	}
	return receipt
}

// consumerOf returns the name of the consumer whose receipt r is.
func consumerOf(r events.Receipt) string {
	if r.Study == events.PartnerStudy(r.Partner) {
		return events.PartnerAccess(r.Partner)
	}
	return events.PartnerConsumer(r.Partner, r.Study)
}
