package partners_test

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

var accountChanges = flag.Int("account-changes", 50, "how often an account is changed in TestOtherPartnersDoNotNoticeChangesOfAnAccount")

var changePause = flag.Duration("change-pause", 20*time.Millisecond, "least time between two changes in BenchmarkDeliveriesBesideChanges")

// Subject and body of an event of study A, and of one that is not counted.
const (
	eventOfA   = events.IngestPrefix + events.PartnerPrefix + "A.DiagnosticReport.signed"
	notCounted = "not counted"
)

// readers are partners of study A. Each reads all events live and through its consumer.
type readers struct {
	t         testing.TB
	publisher *nats.Conn

	mu           sync.Mutex
	sent         []time.Time // when each event was published
	live, pulled [][]time.Time
	opened       map[*[]time.Time]bool // lists to which an event that is not counted has arrived
	more         chan struct{}         // an event has arrived
}

// newReaders logs the partners in, each at another of the servers.
func newReaders(h *installation, urls []string, partners ...string) *readers {
	h.t.Helper()
	r := &readers{
		t: h.t, publisher: h.connect(natsd.Publisher), more: make(chan struct{}, 1),
		live: make([][]time.Time, len(partners)), pulled: make([][]time.Time, len(partners)), opened: make(map[*[]time.Time]bool),
	}
	for i, id := range partners {
		var nc *nats.Conn
		until(h.t, id+" is let in", func() (ok bool) { // a server has to learn first who answers
			var err error
			nc, err = nats.Connect(urls[i%len(urls)], nats.UserInfo(id, secretOf(id)), nats.Timeout(timeout))
			return err == nil
		})
		h.t.Cleanup(nc.Close)
		if _, err := nc.Subscribe("crit.v1.A.>", func(m *nats.Msg) { r.arrived(&r.live[i], m.Data) }); err != nil {
			h.t.Fatal(err)
		}
		consuming, err := consumer(h.t, nc, id+"=A").Consume(func(m jetstream.Msg) {
			r.arrived(&r.pulled[i], m.Data())
			_ = m.Ack() // the connection is closed at the end
		})
		if err == nil {
			h.t.Cleanup(consuming.Stop)
			err = nc.Flush()
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	until(h.t, "all servers know of the subscriptions", func() bool {
		if err := r.publisher.Publish(eventOfA, []byte(notCounted)); err != nil {
			h.t.Fatal(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.opened) == 2*len(partners)
	})
	return r
}

// arrived stores when the event with this number has arrived. Events must arrive in order,
// each once.
func (r *readers) arrived(list *[]time.Time, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if string(body) == notCounted {
		r.opened[list] = true
		return
	}
	if n, err := strconv.Atoi(string(body)); err != nil || n != len(*list) {
		r.t.Errorf("after %d events %q arrived", len(*list), body)
	}
	*list = append(*list, time.Now())
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// mostUnderWay is how many events may be published that have not arrived everywhere. The
// server drops what it cannot store in time, because nobody waits for its acknowledgement.
const mostUnderWay = 1000

// publish publishes an event each 5 ms until ended is closed, unless too many are under way.
// It returns the delays between publication and arrival at all partners, in order of length.
func (r *readers) publish(ended <-chan struct{}) (live, pulled []time.Duration) {
	r.t.Helper()
	first := len(r.sent)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for publishing := true; publishing; {
		select {
		case <-ended:
			publishing = false
		case <-tick.C:
			if r.underWay() >= mostUnderWay {
				continue
			}
			r.mu.Lock()
			n := len(r.sent)
			r.sent = append(r.sent, time.Now())
			r.mu.Unlock()
			if err := r.publisher.Publish(eventOfA, strconv.AppendInt(nil, int64(n), 10)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	limit := time.After(2 * timeout)
	for r.underWay() > 0 {
		select {
		case <-r.more:
		case <-limit:
			r.t.Fatal("events have not arrived")
		}
	}
	return r.delays(r.live, first), r.delays(r.pulled, first)
}

// underWay returns how many events were published that have not arrived everywhere.
func (r *readers) underWay() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range slices.Concat(r.live, r.pulled) {
		n = max(n, len(r.sent)-len(list))
	}
	return n
}

// delays returns those of the events from the first on, in order of length.
func (r *readers) delays(lists [][]time.Time, first int) (all []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range lists {
		for n := first; n < len(list); n++ {
			all = append(all, list[n].Sub(r.sent[n]))
		}
	}
	slices.Sort(all)
	return all
}

// installationOfReaders returns an installation on the embedded server or on three, and where
// partners log in.
func installationOfReaders(t testing.TB, servers int) (h *installation, urls []string) {
	t.Helper()
	cfg := config{Rate: 1 << 20, Burst: 1 << 20}
	known := []access.Partner{partner("changed", "A", "B"), partner("p1", "A"), partner("p2", "A"), partner("p3", "A")}
	if servers == 1 {
		h = newInstallationIn(t, t.TempDir(), cfg, known...)
		return h, []string{h.servers.ClientURL()}
	}
	h, built := newClusterInstallation(t, cfg, known...)
	return h, built.urls
}

// change changes the account of a partner, n times, at most once every pause.
func (h *installation) change(n int, pause time.Duration) {
	tick := time.NewTicker(max(pause, 1))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		studies := []string{"A", "B"}[:1+i%2]
		if err := h.accounts.SetAccount(h.t.Context(), tenancy.AccountOf("changed", studies, h.callout.Limits())); err != nil {
			h.t.Error(err)
			return
		}
	}
}

// Live too, other partners miss nothing and get nothing twice.
func TestOtherPartnersDoNotNoticeChangesOfAnAccount(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers, " servers"), func(t *testing.T) {
			t.Parallel()
			h, urls := installationOfReaders(t, servers)
			r := newReaders(h, urls, "p1", "p2", "p3")
			h.stop() // it would set the account too
			changed := make(chan struct{})
			go func() { defer close(changed); h.change(*accountChanges, 0) }()
			r.publish(changed)
		})
	}
}

// BenchmarkDeliveriesBesideChanges measures how long events take to other partners while
// nothing else happens, and while an account is changed 300 times: with a pause between two
// changes, and as fast as it can be. With -short it is changed 10 times. One round is enough:
//
//	go test -run '^$' -bench DeliveriesBesideChanges -benchtime 1x ./publisher/partners
func BenchmarkDeliveriesBesideChanges(b *testing.B) {
	for _, servers := range []int{1, 3} {
		for _, pause := range []time.Duration{*changePause, 0} {
			b.Run(fmt.Sprintf("servers=%d/pause=%s", servers, pause), func(b *testing.B) { benchmarkDeliveries(b, servers, pause) })
		}
	}
}

func benchmarkDeliveries(b *testing.B, servers int, pause time.Duration) {
	changes, warm, idleFor := 300, time.Second, 5*time.Second
	if testing.Short() {
		changes, warm, idleFor = 10, 100*time.Millisecond, 200*time.Millisecond
	}
	h, urls := installationOfReaders(b, servers)
	r := newReaders(h, urls, "p1", "p2", "p3")
	h.stop()
	for b.Loop() {
		begun := make(chan struct{})
		time.AfterFunc(warm, func() { close(begun) })
		r.publish(begun) // the first events take longer
		idle := make(chan struct{})
		time.AfterFunc(idleFor, func() { close(idle) })
		idleLive, idlePulled := r.publish(idle)
		changed, started := make(chan struct{}), time.Now()
		go func() { defer close(changed); h.change(changes, pause) }()
		live, pulled := r.publish(changed)
		b.ReportMetric(float64(time.Since(started).Milliseconds())/float64(changes), "ms/change")
		reportDelays(b, "live", idleLive, live)
		reportDelays(b, "pulled", idlePulled, pulled)
	}
}

// reportDelays reports the 99th percentiles while nothing else happened and during the
// changes, and their ratio.
func reportDelays(b *testing.B, how string, idle, changes []time.Duration) {
	b.Helper()
	p99 := func(all []time.Duration) float64 { return float64(all[len(all)*99/100]) / float64(time.Millisecond) }
	b.ReportMetric(p99(idle), how+"-p99-idle-ms")
	b.ReportMetric(p99(changes), how+"-p99-changes-ms")
	b.ReportMetric(p99(changes)/p99(idle), how+"-p99-ratio")
}
