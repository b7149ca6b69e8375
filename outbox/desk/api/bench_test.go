package api_test

import (
	"fmt"
	"testing"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
)

// BenchmarkSignOff compares a sign-off over HTTP, by a PI whose password is remembered,
// with the same one in the program.
func BenchmarkSignOff(b *testing.B) {
	in := install(b, api.Config{Signing: true}, "dr.a")
	next := 0
	// wait registers an assessment in a case of its own, and returns what a PI reads of it.
	wait := func() shown {
		next++
		id := fmt.Sprint(next)
		_, err := in.outbox.Register(b.Context(), "ops", []events.Submission{{Assessment: visit(study, int32(next), id, 0, "50", "--", "0.0 mm", "--", "No")}})
		ok(b, err)
		c, v, err := in.outbox.Reviews().Assessment(b.Context(), id)
		ok(b, err)
		return shown{ID: id, Stamp: c.Stamp, Digest: v.Waiting.Digest, etag: `"` + c.Tag(id) + `"`}
	}
	in.send(wait().sign("dr.a", ""))
	b.Run("in the program", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			s := wait()
			c, _, err := in.outbox.Reviews().Assessment(b.Context(), s.ID)
			ok(b, err)
			request, err := signing.SignOff(c, signing.Request{User: "dr.a", Meaning: meaning, Stamp: s.Stamp, Items: []signing.Item{{ID: s.ID, Digest: s.Digest}}})
			ok(b, err)
			b.StartTimer()
			_, err = in.outbox.SignOff(b.Context(), request)
			ok(b, err)
		}
	})
	b.Run("over HTTP", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			s := wait()
			q := s.sign("dr.a", "")
			q.path = "" // the answer is not compared with the description
			b.StartTimer()
			if a := in.send(q); a.Status != 201 {
				b.Fatalf("%d: %s", a.Status, a.Body)
			}
		}
	})
}
