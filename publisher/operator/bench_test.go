package operator_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

var partners = flag.Int("partners", 100, "number of partners in the benchmark of accounts")

const (
	mostConsumersOf = 1000 // partners; with more, the benchmark makes no consumers
	mostConnected   = 500  // partners
)

// BenchmarkAccounts measures one server and three, each in a process of its own, with the
// accounts of all partners. Each partner has three studies of a hundred. Plain is a
// configuration file with the same accounts, for up to 1,000 partners.
//
// With -short there are 10 partners at most, and the rounds are short.
//
//	go test -run '^$' -bench Accounts -benchtime 1x -timeout 60m ./publisher/operator -partners 1000
func BenchmarkAccounts(b *testing.B) {
	if testing.Short() {
		*partners = min(*partners, 10)
	}
	for _, size := range []int{1, 3} {
		b.Run(fmt.Sprintf("operator/servers=%d", size), func(b *testing.B) {
			for b.Loop() {
				benchmarkOperator(b, size)
			}
		})
		b.Run(fmt.Sprintf("plain/servers=%d", size), func(b *testing.B) {
			if *partners > mostConsumersOf {
				b.Skip("a server with so many partners in its configuration takes minutes to start")
			}
			for b.Loop() {
				benchmarkPlain(b, size)
			}
		})
	}
}

// studiesOf are the studies of a partner.
func studiesOf(i int) []string {
	return []string{fmt.Sprint("S", i%100), fmt.Sprint("S", (i+1)%100), fmt.Sprint("S", (i+37)%100)}
}

func partnerOf(i int) string { return fmt.Sprint("partner", i) }

func benchmarkAccounts() []tenancy.Account {
	accounts := make([]tenancy.Account, *partners)
	for i := range accounts {
		accounts[i] = accountOf(partnerOf(i), studiesOf(i)...)
	}
	return accounts
}

func benchmarkOperator(b *testing.B, size int) {
	started := time.Now()
	in := newInstallation(b, size, true)
	report(b, "start-ms", float64(time.Since(started).Milliseconds()))
	accounts := benchmarkAccounts()
	in.answerLogins()
	in.makeConsumers(b)
	a := in.accounts()
	report(b, "push-ms", in.timed(func() error { return a.Compare(b.Context(), all(accounts...)) }))
	report(b, "compare-ms", in.timed(func() error { return a.Compare(b.Context(), all(accounts...)) }))
	changes := 200
	if testing.Short() {
		changes = 20
	}
	took := make([]float64, changes)
	for i := range took {
		partner := i / 2 % *partners
		changed := accountOf(partnerOf(partner), studiesOf(partner)[:2+i%2]...)
		took[i] = in.timed(func() error { return a.SetAccount(b.Context(), changed) })
	}
	slices.Sort(took)
	report(b, "change-p50-ms", took[changes/2])
	report(b, "change-p99-ms", took[changes*99/100])
	a.Close()
	in.measureServers(b)
}

// measureServers starts the servers again and measures them without partners and with.
func (in *installation) measureServers(b *testing.B) {
	for _, n := range in.nodes {
		in.kill(n)
	}
	report(b, "restart-ms", in.timed(func() error {
		var group errgroup.Group
		for _, n := range in.nodes {
			group.Go(func() error { in.start(n, true); return nil })
		}
		_ = group.Wait() // it returns none
		in.ready()
		return nil
	}))
	report(b, "idle-CPU-%", in.processors(b))
	report(b, "idle-MB", in.memory(b))
	var group errgroup.Group
	group.SetLimit(8)
	for i := range min(mostConnected, *partners) {
		group.Go(func() error { in.mustLogin(in.nodes[i%len(in.nodes)], partnerOf(i)); return nil })
	}
	_ = group.Wait() // it returns none
	report(b, "connected-MB", in.memory(b))
	report(b, "connected-CPU-%", in.processors(b))
}

// makeConsumers makes what the partners' accounts open, with one replica each.
func (in *installation) makeConsumers(b *testing.B) {
	b.Helper()
	in.makeStream("none")
	if *partners > mostConsumersOf {
		return
	}
	js := in.jetstream(operator.Publisher)
	var group errgroup.Group
	group.SetLimit(32)
	for i := range *partners {
		for _, c := range tenancy.Consumers(partnerOf(i), studiesOf(i)) {
			group.Go(func() error {
				_, err := js.CreateConsumer(b.Context(), events.Stream, jetstream.ConsumerConfig{
					Durable: c.Name, FilterSubject: c.Subject, AckPolicy: jetstream.AckExplicitPolicy, Replicas: 1,
				})
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// benchmarkPlain has all accounts in a file that the servers read at the start and at
// each reload.
func benchmarkPlain(b *testing.B, size int) {
	dir := b.TempDir()
	in := &installation{t: b, plain: true}
	file := filepath.Join(dir, "operator.conf")
	accounts := benchmarkAccounts()
	text := plainText(accounts)
	report(b, "file-kB", float64(len(text))/1000)
	brokertest.Write(b, file, text)
	report(b, "start-ms", in.timed(func() error { in.addNodes(dir, size, true); return nil }))
	in.makeConsumers(b)
	took := make([]float64, 5)
	for i := range took {
		accounts[0] = accountOf(partnerOf(0), studiesOf(0)[:2+i%2]...)
		brokertest.Write(b, file, plainText(accounts))
		took[i] = in.timed(in.reload)
	}
	slices.Sort(took)
	report(b, "change-p50-ms", took[len(took)/2])
	report(b, "change-max-ms", took[len(took)-1])
	in.measureServers(b)
}

// reload has all servers reload their configuration.
func (in *installation) reload() error {
	var group errgroup.Group
	for _, n := range in.nodes {
		group.Go(func() error {
			nc, err := nats.Connect(n.url, nats.UserInfo(string(operator.System), "pw-system"))
			if err != nil {
				return err
			}
			defer nc.Close()
			msg, err := nc.Request("$SYS.REQ.SERVER."+nc.ConnectedServerId()+".RELOAD", nil, 10*time.Minute)
			if err == nil && strings.Contains(string(msg.Data), `"error"`) {
				err = fmt.Errorf("reload: %s", msg.Data)
			}
			return err
		})
	}
	return group.Wait()
}

// plainText is a configuration with users and passwords in place of keys.
func plainText(accounts []tenancy.Account) string {
	var w strings.Builder
	exports := make(map[string][]string)
	for _, a := range accounts {
		for _, s := range a.Services {
			kind := "response: singleton"
			if s.Streamed {
				kind = "response: stream"
			}
			what := fmt.Sprintf("service: %q, %s", s.Subject, kind)
			exports[what] = append(exports[what], a.Name)
		}
		for _, subject := range a.Streams {
			what := fmt.Sprintf("stream: %q", subject)
			exports[what] = append(exports[what], a.Name)
		}
	}
	fmt.Fprintf(&w, "system_account: SYS\naccounts {\nSYS {users: [{user: keeper, password: pw-keeper}, {user: system, password: pw-system}]}\n")
	fmt.Fprintf(&w, "APP {\njetstream: enabled\nusers: [{user: publisher, password: pw-publisher}]\nexports: [\n")
	for what, names := range exports {
		fmt.Fprintf(&w, "{%s, accounts: [%s]}\n", what, strings.Join(names, ", "))
	}
	fmt.Fprintf(&w, "]\n}\n")
	for _, a := range accounts {
		id := strings.TrimPrefix(a.Name, tenancy.AccountPrefix)
		fmt.Fprintf(&w, "%s {\nusers: [{user: %s, password: pw-%[2]s}]\n", a.Name, id)
		fmt.Fprintf(&w, "limits: {max_connections: %d, max_subscriptions: %d, max_payload: %d, max_leafnodes: 0}\n", a.Limits.Connections, a.Limits.Subscriptions, a.Limits.Payload)
		fmt.Fprintf(&w, "mappings: {%q: %q}\nimports: [\n", a.Mapping.From, a.Mapping.To)
		for _, s := range a.Services {
			fmt.Fprintf(&w, "{service: {account: APP, subject: %q}, to: %q}\n", s.Subject, s.Import)
		}
		for _, subject := range a.Streams {
			fmt.Fprintf(&w, "{stream: {account: APP, subject: %q}}\n", subject)
		}
		fmt.Fprintf(&w, "]\n}\n")
	}
	fmt.Fprintf(&w, "}\n")
	return w.String()
}

func report(b *testing.B, unit string, value float64) {
	b.Helper()
	b.ReportMetric(value, unit)
}

// timed returns how many milliseconds something takes.
func (in *installation) timed(do func() error) float64 {
	in.t.Helper()
	started := time.Now()
	if err := do(); err != nil {
		in.t.Fatal(err)
	}
	return float64(time.Since(started).Microseconds()) / 1000
}

// memory is the largest resident memory of a server in MB.
func (in *installation) memory(b *testing.B) (most float64) {
	b.Helper()
	for _, n := range in.nodes {
		most = max(most, n.read(b, "status", func(text string) float64 {
			_, rest, _ := strings.Cut(text, "VmRSS:")
			return number(b, strings.Fields(rest)[0]) / 1000
		}))
	}
	return most
}

// processors is how much of a processor all servers use together while nothing happens,
// in per cent.
func (in *installation) processors(b *testing.B) float64 {
	b.Helper()
	used := func() (seconds float64) {
		for _, n := range in.nodes {
			seconds += n.read(b, "stat", func(text string) float64 {
				const user, system, perSecond = 11, 12, 100 // after the name of the program
				fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
				return (number(b, fields[user]) + number(b, fields[system])) / perSecond
			})
		}
		return seconds
	}
	before := used()
	idle := 5 * time.Second
	if testing.Short() {
		idle = 100 * time.Millisecond
	}
	<-time.After(idle)
	return (used() - before) / idle.Seconds() * 100
}

// read reads a file that the system has of a server's process.
func (n *node) read(b *testing.B, file string, value func(string) float64) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.process.Process.Pid, file))
	if err != nil {
		b.Skip(err)
	}
	return value(string(text))
}

func number(b *testing.B, text string) float64 {
	b.Helper()
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		b.Fatal(err)
	}
	return value
}
