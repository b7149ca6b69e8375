package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox"
	"github.com/seed-e88a4ece/signoff/outbox/desk/api"
	"github.com/seed-e88a4ece/signoff/outbox/desk/signing"
)

// BenchmarkSignOff compares a sign-off over HTTP, by a PI whose password is remembered,
// with the same one in the program: by one caller, and by 64 callers who share commits.
// Both sign the waiting visit of a case that has other visits, which were signed, or none.
//
// They take turns, so that a busy machine is busy for both. What is signed is registered
// and read beforehand, outside the time. The metrics are the time between two sign-offs
// in the program, over HTTP, and over HTTP as a multiple of that in the program; and the
// same of the time of the processors.
func BenchmarkSignOff(b *testing.B) {
	for _, visits := range []int{1, 6} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("visits=%d/callers=%d", visits, callers), func(b *testing.B) { benchmarkSignOff(b, visits, callers) })
		}
	}
}

func benchmarkSignOff(b *testing.B, visits, callers int) {
	const perTurn = 128 // are registered and read at once, for each
	in := install(b, api.Config{Signing: true}, "dr.a")
	ok(b, dial(b, in).post(in.httpText(in.waiting(1).sign("dr.a", "")))) // from now on the password is remembered
	var program, overHTTP span
	b.ResetTimer()
	for left := b.N; left > 0; left -= perTurn {
		b.StopTimer()
		n := min(left, perTurn)
		requests := make([]outbox.SignOff, n)
		calls := make([]string, n)
		for i := range n {
			requests[i] = in.waiting(visits).request(b, in)
			calls[i] = in.httpText(in.waiting(visits).sign("dr.a", ""))
		}
		clients := make(chan *client, callers)
		for range callers {
			clients <- dial(b, in)
		}
		b.StartTimer()
		for from := 0; from < n; from += 2 * callers {
			to := min(n, from+2*callers)
			program.measure(b, callers, from, to, func(i int) error {
				_, err := in.outbox.SignOff(b.Context(), requests[i])
				return err
			})
			overHTTP.measure(b, callers, from, to, func(i int) error {
				c := <-clients
				defer func() { clients <- c }()
				return c.post(calls[i])
			})
		}
	}
	b.ReportMetric(0, "ns/op") // of both
	for _, m := range []struct {
		unit              string
		program, overHTTP time.Duration
	}{{"", program.time, overHTTP.time}, {"-cpu", program.processors, overHTTP.processors}} {
		b.ReportMetric(float64(m.program.Microseconds())/float64(b.N), "program-µs"+m.unit)
		b.ReportMetric(float64(m.overHTTP.Microseconds())/float64(b.N), "http-µs"+m.unit)
		b.ReportMetric(float64(m.overHTTP)/float64(m.program), "times"+m.unit)
	}
}

// waiting registers a case with so many visits, signs all but the last, and returns what a
// PI reads of the last.
func (in *installation) waiting(visits int) shown {
	in.t.Helper()
	in.cases++
	var s shown
	for i := range visits {
		id := fmt.Sprintf("bench-%d-%d", in.cases, i)
		a := visit(study, in.cases, id, int32(i), "50", "0.0 mm", "0.0 mm", "0.0 mm", "Stable Disease")
		if i == 0 {
			a = visit(study, in.cases, id, 0, "50", "--", "0.0 mm", "--", "No")
		}
		results, err := in.outbox.Register(in.t.Context(), "ops", []events.Submission{{Assessment: a}})
		ok(in.t, err)
		if results[0].Err != nil {
			in.t.Fatal(results[0].Err)
		}
		c, v, err := in.outbox.Reviews().Assessment(in.t.Context(), id)
		ok(in.t, err)
		in.outbox.Reviews().CheckOf(c) // is shown too
		s = shown{ID: id, Stamp: c.Stamp, Digest: v.Waiting.Digest, etag: `"` + c.Tag(id) + `"`}
		if i < visits-1 {
			_, err := in.outbox.SignOff(in.t.Context(), s.request(in.t, in))
			ok(in.t, err)
		}
	}
	return s
}

// request returns the sign-off of what was read, in the program.
func (s shown) request(t testing.TB, in *installation) outbox.SignOff {
	t.Helper()
	c, _, err := in.outbox.Reviews().Assessment(t.Context(), s.ID)
	ok(t, err)
	r, err := signing.SignOff(c, signing.Request{Checked: in.outbox.Reviews().CheckOf(c), User: "dr.a", Meaning: meaning, Stamp: s.Stamp, Items: []signing.Item{{ID: s.ID, Digest: s.Digest}}})
	ok(t, err)
	return r
}

// httpText returns a call as it is sent over HTTP/1.1.
func (in *installation) httpText(c call) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		c.method, api.BasePath+c.target, in.server.Listener.Addr(), in.callers[c.as], c.header[0], c.header[1], len(c.body), c.body)
}

// client is a client of HTTP with one connection. It does no more than it must, because it
// shares the processors with what is measured.
type client struct {
	net.Conn
	reader *bufio.Reader
}

func dial(b *testing.B, in *installation) *client {
	b.Helper()
	conn, err := net.Dial("tcp", in.server.Listener.Addr().String())
	ok(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

// post sends a call and reads its answer, which must have the status 201.
func (c *client) post(call string) error {
	if _, err := io.WriteString(c, call); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var body strings.Builder
	if _, err := io.Copy(&body, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %s", answer.Status, body.String())
	}
	return nil
}

// span adds up times.
type span struct{ time, processors time.Duration }

// measure runs fn for from … to-1 in so many callers and adds the time that it takes.
func (s *span) measure(b *testing.B, callers, from, to int, fn func(i int) error) {
	b.Helper()
	next := make(chan int, to-from)
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	start, used := time.Now(), processors()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range next {
				if err := fn(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.time += time.Since(start)
	s.processors += processors() - used
}

// processors returns the time that this process has used of the processors.
func processors() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
