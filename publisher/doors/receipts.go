package doors

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
)

// note hands on how far the guests' consumers got, where that has changed since
// it was last asked.
func (d *Doors) note(ctx context.Context, all map[string]guest, infos []*jetstream.ConsumerInfo, asked time.Time) error {
	byName := make(map[string]*jetstream.ConsumerInfo, len(infos))
	for _, info := range infos {
		byName[info.Name] = info
	}
	var news []events.Receipt
	for _, g := range all {
		for _, w := range g.wants() {
			info := byName[w.name]
			if info == nil || !w.fits(info.Config) {
				continue
			}
			r := receiptOf(g.ID, w, info)
			r.At = asked.UTC()
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

func receiptOf(partner string, w want, info *jetstream.ConsumerInfo) events.Receipt {
	r := events.Receipt{Partner: partner, Study: w.token, Delivered: info.Delivered.Stream, Acknowledged: info.AckFloor.Stream}
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
