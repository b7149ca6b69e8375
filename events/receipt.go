package events

import "time"

// Receipt is how far the broker got with a partner's durable consumer. Its
// numbers are stream sequences, because that is what the broker counts in.
type Receipt struct {
	Partner      string    // the partner's id
	Study        string    // study token; PartnerStudy(Partner) for the consumer of announcements
	Delivered    uint64    // the last one delivered, whether acknowledged or not; 0 for none
	Acknowledged uint64    // up to here every one of the study is acknowledged; 0 for none
	At           time.Time // when the broker was asked, UTC
}
