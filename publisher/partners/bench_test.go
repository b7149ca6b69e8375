package partners_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// BenchmarkWithdrawal measures from the moment in which the directory no longer grants a
// partner its study until the partner's connection is closed, by which its consumer is
// gone. Beside it, how long it takes to close a connection and nothing else.
func BenchmarkWithdrawal(b *testing.B) {
	h := newInstallation(b, config{Rate: 1 << 20, Burst: 1 << 20})
	h.publish("A", "a1")
	open := func() chan nats.Status { return h.mustLogin("acme").StatusChanged(nats.CLOSED) }
	var withdrawn, bare, longest time.Duration
	for b.Loop() {
		h.admit("acme", "A")
		closed, begun := open(), time.Now()
		h.set("acme")
		<-closed
		took := time.Since(begun)
		withdrawn, longest = withdrawn+took, max(longest, took)

		h.admit("acme", "A")
		closed, begun = open(), time.Now()
		list, err := h.connections("acme")
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range list {
			if err := h.accounts.Disconnect(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
		<-closed
		bare += time.Since(begun)
	}
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(milliseconds(withdrawn)/float64(b.N), "ms/withdrawal")
	b.ReportMetric(milliseconds(longest), "longest-ms")
	b.ReportMetric(milliseconds(bare)/float64(b.N), "bare-close-ms")
	b.ReportMetric(float64(withdrawn)/float64(bare), "ratio")
}

// BenchmarkConsumers measures what many consumers cost, 100 to a partner: how long it
// takes to make them, to list their names beside the states of all, to stop and to start,
// and how much longer a publish takes than without any. SIGNOFF_BENCH_CONSUMERS says how
// many there are: by default 100, with -short 10.
func BenchmarkConsumers(b *testing.B) {
	n := benchConsumers(b)
	report := func(name string, d time.Duration) { b.ReportMetric(d.Seconds(), name) }
	for b.Loop() {
		h := newInstallation(b, config{Interval: 3 * time.Second, MaxConsumers: n})
		bare := h.publishLatency(b)

		begun := time.Now()
		h.directory.change(func(d access.Directory) access.Directory { return withConsumers(d, n) })
		h.have(n)
		report("make-s", time.Since(begun))
		many := h.publishLatency(b)
		b.ReportMetric(float64(bare)/float64(time.Millisecond), "bare-publish-ms")
		b.ReportMetric(float64(many)/float64(time.Millisecond), "publish-ms")
		b.ReportMetric(float64(many)/float64(bare), "ratio")

		names, states := h.listTimes(b)
		report("names-s", names)
		report("states-s", states)

		begun = time.Now()
		h.stop()
		h.server.Shutdown()
		report("stop-s", time.Since(begun))
		begun = time.Now()
		h.startServer()
		report("start-server-s", time.Since(begun))
		h.startService()
		h.ready()
		report("start-s", time.Since(begun))
	}
}

// benchConsumers is how many consumers a benchmark makes.
func benchConsumers(b *testing.B) int {
	b.Helper()
	number := "100"
	if testing.Short() {
		number = "10"
	}
	n, err := strconv.Atoi(cmp.Or(os.Getenv("SIGNOFF_BENCH_CONSUMERS"), number))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkClusterConsumers measures what consumers held by three servers and by one cost
// on a cluster of three: how long it takes to make them, and to have a server back that was
// restarted, and how busy the servers are when nothing happens, beside none.
func BenchmarkClusterConsumers(b *testing.B) {
	n := benchConsumers(b)
	for _, replicas := range []int{3, 1} {
		b.Run(fmt.Sprintf("R%d", replicas), func(b *testing.B) {
			for b.Loop() {
				partners := withConsumers(access.Directory{}, n).Partners()
				h, built := prepareCluster(b, config{Interval: 3 * time.Second, Replicas: replicas}, partners...)
				bare := cpuBusy(b)
				begun := time.Now()
				h.startService()
				h.have(n)
				b.ReportMetric(time.Since(begun).Seconds(), "make-s")
				h.stop() // what the service asks for is not what the servers do by themselves
				busy := cpuBusy(b)
				b.ReportMetric(100*bare, "bare-cpu-%")
				b.ReportMetric(100*busy, "cpu-%")
				b.ReportMetric(busy/bare, "ratio")

				begun = time.Now()
				built.servers[2].Shutdown()
				built.servers[2].WaitForShutdown()
				b.ReportMetric(time.Since(begun).Seconds(), "server-stop-s")
				begun = time.Now()
				built.servers[2] = brokertest.StartNode(b, built.files[2])
				for built.servers[2].Healthz(nil).Status != "ok" {
					time.Sleep(10 * time.Millisecond)
				}
				b.ReportMetric(time.Since(begun).Seconds(), "server-start-s")
			}
		})
	}
}

// cpuBusy returns how many processors the process uses for some seconds, with -short for a
// tenth of one.
func cpuBusy(b *testing.B) float64 {
	b.Helper()
	wait := 5 * time.Second
	if testing.Short() {
		wait = 100 * time.Millisecond
	}
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	time.Sleep(wait)
	return (used() - before).Seconds() / wait.Seconds()
}

// have waits, as long as it takes, until partners have n consumers.
func (h *installation) have(n int) {
	for s := h.reconciler.Status(); s.Consumers < n || !s.Ready; s = h.reconciler.Status() {
		time.Sleep(time.Millisecond)
	}
}

// withConsumers has partners who need n consumers.
func withConsumers(d access.Directory, n int) access.Directory {
	for i := 0; n > 0; i++ {
		var studies []string
		for s := range min(n, 100) - 1 {
			studies = append(studies, fmt.Sprint("S-", s))
		}
		d = d.WithPartner(partner(fmt.Sprint("p", i), studies...))
		n -= len(studies) + 1
	}
	return d
}

// publishLatency is the median time of a publish.
func (h *installation) publishLatency(b *testing.B) time.Duration {
	b.Helper()
	took := make([]time.Duration, 300)
	if testing.Short() {
		took = took[:10]
	}
	for i := range took {
		begun := time.Now()
		h.publish("S-0", "a report")
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// listTimes is how long it takes to list the names of all consumers, and their states.
func (h *installation) listTimes(b *testing.B) (names, states time.Duration) {
	b.Helper()
	stream, err := h.writer.Stream(b.Context(), events.Stream)
	if err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	lister := stream.ConsumerNames(b.Context())
	for range lister.Name() {
	}
	names = time.Since(begun)
	begun = time.Now()
	var all jetstream.ConsumerInfoLister = stream.ListConsumers(b.Context())
	for range all.Info() {
	}
	if lister.Err() != nil || all.Err() != nil {
		b.Fatal(lister.Err(), all.Err())
	}
	return names, time.Since(begun)
}

var partnersThatDoNotRead = flag.Int("partners-that-do-not-read", 5, "how many partners do not read in BenchmarkPartnersThatDoNotRead")

// BenchmarkPartnersThatDoNotRead publishes events of 4.5 KB and measures how long it takes
// until a partner that reads has one acknowledged: first in peace, then beside partners that
// have as many connections and subscriptions as they may, read nothing, and come back when
// they are closed. Beside it, how large the process was and became, which is server, service
// and all partners.
func BenchmarkPartnersThatDoNotRead(b *testing.B) {
	h := newInstallation(b, config{})
	h.admit("honest", "A")
	for i := range *partnersThatDoNotRead {
		h.admit(fmt.Sprint("deaf", i), "A")
	}
	reading := consumer(b, h.mustLogin("honest"), "honest=A")
	body := strings.Repeat("x", 4500)
	var peak float64
	phase := func() (took []time.Duration) {
		for range b.N {
			begun := time.Now()
			h.publish("A", body)
			take(b, reading, 1)
			took = append(took, time.Since(begun))
			peak = max(peak, residentMB(b))
			<-time.After(10*time.Millisecond - time.Since(begun))
		}
		slices.Sort(took)
		return took
	}
	peace := phase()
	before := peak

	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var open sync.WaitGroup
	for i := range *partnersThatDoNotRead {
		for range tenancy.DefaultLimits().Connections {
			open.Add(1)
			running.Go(func() { loginAndDoNotRead(ctx, h.server.ClientURL(), fmt.Sprint("deaf", i), open.Done) })
		}
	}
	open.Wait()
	beside := phase()
	milliseconds := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for _, percent := range []int{50, 99} {
		i := min(b.N*percent/100, b.N-1)
		b.ReportMetric(milliseconds(peace[i]), fmt.Sprintf("p%d-ms", percent))
		b.ReportMetric(milliseconds(beside[i]), fmt.Sprintf("p%d-beside-ms", percent))
		b.ReportMetric(float64(beside[i])/float64(peace[i]), fmt.Sprintf("p%d-ratio", percent))
	}
	b.ReportMetric(before, "MB")
	b.ReportMetric(peak, "MB-beside")
	b.ReportMetric(h.metric("signoff_partners_closed_connections_total", "reads too slowly"), "closed")
}

// loginAndDoNotRead has a connection that does not read, another one when it is closed. Opened is
// called once the first is open.
func loginAndDoNotRead(ctx context.Context, address, id string, opened func()) {
	once := sync.OnceFunc(opened)
	defer once()
	for ctx.Err() == nil {
		conn, err := loginWithoutReading(address, id)
		if err == nil {
			_, err = io.WriteString(conn, everything("crit.v1.A.>"))
		}
		once()
		for err == nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
				_, err = io.WriteString(conn, "PING\r\n")
			}
		}
		if conn != nil {
			_ = conn.Close()
		}
		select { // as clients do
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// residentMB is the size of the process in memory.
func residentMB(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("how large the process is, is known on Linux only")
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * float64(os.Getpagesize()) / (1 << 20)
}
