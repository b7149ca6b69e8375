package desk

import (
	"net/http"

	"github.com/seed-e88a4ece/signoff/outbox/review"
)

// waitingPage is what the page of what waits shows.
type waitingPage struct{ Cases []review.QueuedCase }

// waiting answers with the cases in which something waits for the PI.
func (d *Desk) waiting(w http.ResponseWriter, q *request) error {
	cases, err := d.outbox.Reviews().Queue(q.Context(), review.QueueFilter{Studies: q.pi.Studies, Limit: 50})
	if err != nil {
		return err
	}
	return pages.Write(w, http.StatusOK, "waiting", d.frame(q, "waiting", "Waiting for your sign-off", waitingPage{cases}))
}
