package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/cmd/signoff/datadir"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/internal/testcert"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/natsconf"
	"github.com/seed-e88a4ece/signoff/cmd/signoff/server"
	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/outbox/token"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

const demoStudy = "DEMO-01"

// clusterServer is a program on outside servers, with a partner and assessments.
type clusterServer struct {
	*cluster
	p        *server.Server
	stop     func()
	listen   string // address of the read API, the same after each start
	password string
	secret   string // of acme
}

func newClusterServer(t *testing.T, size int) *clusterServer {
	t.Helper()
	data := t.TempDir()
	password := addPI(t, data, "pi", demoStudy, "FHIR-T")
	mustSignoff(t, "import", "demo/synthetic.ndjson", "--data", data)
	mustSignoff(t, "import", "demo/seed.json", "--data", data)
	var c credentials
	added := mustSignoff(t, "partner", "add", "acme", "--study", demoStudy, "--data", data, "--json")
	if err := json.Unmarshal([]byte(added.out), &c); err != nil {
		t.Fatal(err)
	}
	o := &clusterServer{cluster: newCluster(t, data, size), password: password, secret: c.Secret}
	o.serve()
	return o
}

// onItsAddress returns the settings of the program.
func (o *clusterServer) onItsAddress() server.Settings {
	o.t.Helper()
	if o.listen == "" {
		o.listen = brokertest.FreeAddresses(o.t, 1)[0]
	}
	s := o.settings()
	s.Listen = o.listen
	return s
}

func (o *clusterServer) serve() {
	o.t.Helper()
	s := o.onItsAddress()
	o.p, o.stop = startWith(o.t, o.data, s, slog.New(slog.DiscardHandler))
}

// begin starts the program. The channel is closed once it is ready.
func (o *clusterServer) begin() <-chan struct{} {
	o.t.Helper()
	s := o.onItsAddress()
	p, err := server.Open(o.t.Context(), datadir.Dir(o.data), s, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	o.p = p
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- p.Run(ctx, func(datadir.Serving) { close(ready) }) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			o.t.Error(err)
		}
	})
	o.t.Cleanup(o.stop)
	return ready
}

// serveNewStream starts the program on servers that do not have its stream, and makes the
// read model anew.
func (o *clusterServer) serveNewStream() {
	o.t.Helper()
	ready := o.begin()
	eventually(o.t, "the old read model to be refused", func() error {
		_, findings := readiness(o.t, o.p)
		if !strings.Contains(findings["readModel"], "red") || !strings.Contains(findings["readModel"], "signoff rebuild") {
			return errors.New(findings["readModel"])
		}
		return nil
	})
	eventually(o.t, "a rebuilt one", func() error {
		if r := signoff(o.t, "rebuild", "--data", o.data); r.status != exitDone {
			return errors.New(r.err)
		}
		return nil
	})
	arrives(o.t, "a server that is ready", ready)
}

func (o *clusterServer) sign(ids ...string) {
	o.t.Helper()
	mustSignoff(o.t, append([]string{"sign", "--as", "pi", "--meaning", meaning, "--password-file", o.password, "--data", o.data}, pinnedIDs(o.t, o.data, ids...)...)...)
}

// reports counts what the partner's page shows.
func (o *clusterServer) reports(study string) int {
	o.t.Helper()
	client := &partnerClient{t: o.t, p: o.p, id: "acme"}
	client.token = client.signIn(o.secret)
	_, total := client.pages("/DiagnosticReport?researchstudy=" + study)
	return total
}

// follower is a partner's program. It records the numbers of a study's events and its
// position.
type follower struct {
	mu      sync.Mutex
	at      subscriber.Bookmark
	numbers []uint64
}

func (f *follower) Resume(context.Context, string) (subscriber.Bookmark, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, nil
}

func (f *follower) Handle(_ context.Context, d subscriber.Delivery) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = d.Bookmark
	f.numbers = append(f.numbers, d.Bookmark.Number)
	return nil
}

// has returns an error unless it has the numbers 1 to n, each once, in order.
func (f *follower) has(n uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, number := range f.numbers {
		if number != uint64(i+1) {
			return fmt.Errorf("numbers %v", f.numbers)
		}
	}
	if uint64(len(f.numbers)) != n {
		return fmt.Errorf("%d events of %d", len(f.numbers), n)
	}
	return nil
}

// follow runs a partner's program until the test ends.
func (o *clusterServer) follow(study string) *follower {
	o.t.Helper()
	eventually(o.t, "a login", func() error { return o.opens(0, study) })
	f := &follower{}
	ctx, cancel := context.WithCancel(context.Background())
	partner, err := subscriber.Dial(ctx, subscriber.Credentials{
		TokenURL: o.p.PublicURL() + token.Path, ClientID: "acme", Secret: subscriber.Secret(o.secret),
	}, o.flags().NATSURL, subscriber.PartnerConfig{Outage: func(error) {}, Patience: time.Minute})
	if err != nil {
		cancel()
		o.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- partner.Follow(ctx, study, f) }()
	o.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			o.t.Errorf("following %s ended with %v", study, err)
		}
		partner.Close()
	})
	return f
}

// last is the number of a study's last event.
func (o *clusterServer) last(study string) uint64 {
	o.t.Helper()
	head, err := o.p.Outbox.ChainHead(o.t.Context(), events.StudyKey(study))
	if err != nil {
		o.t.Fatal(err)
	}
	return head.Number
}

// opens reports whether a login at a server opens the study's consumer.
func (o *clusterServer) opens(i int, study string) error {
	return opensConsumer(o.url(i), "acme", o.secret, study)
}

func TestAnOutsideCluster(t *testing.T) {
	o := newClusterServer(t, 3)
	o.sign("2001")
	awaitCaughtUp(t, o.p)
	f := o.follow(demoStudy)

	t.Run("the stream is on all three servers", func(t *testing.T) {
		info := o.stream()
		if info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			t.Errorf("%d replicas, cluster %+v", info.Config.Replicas, info.Cluster)
		}
		if n := o.reports(demoStudy); n != 1 {
			t.Errorf("%d reports", n)
		}
		eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
	})
	t.Run("what was sent to a lost connection comes again, without being waited for", func(t *testing.T) {
		o.disconnections(t, f)
	})
	t.Run("a partner gets in at each", func(t *testing.T) {
		for i := range o.hosts {
			eventually(t, "a login", func() error { return o.opens(i, demoStudy) })
			nc, err := o.login(i, "acme", "wrong")
			if err == nil {
				nc.Close()
				t.Errorf("server %d: a wrong secret opens", i)
			}
		}
	})
	t.Run("a grant begins at once", func(t *testing.T) { o.grant(t) })
	t.Run("a withdrawal too", func(t *testing.T) { o.withdraw(t) })
	t.Run("logins are answered beside the program, and by nobody without", func(t *testing.T) { o.callouts(t) })
	t.Run("with one server killed it goes on", func(t *testing.T) {
		o.kill(0)
		o.sign("2002")
		awaitCaughtUp(t, o.p)
		if n := o.reports(demoStudy); n != 5 {
			t.Errorf("%d reports", n)
		}
		eventually(t, "a login", func() error { return o.opens(1, demoStudy) })
		eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
		eventually(t, "its name among what is to be attended to", func() error {
			if status, findings := readiness(t, o.p); status != http.StatusOK || !strings.Contains(findings["natsServers"], o.hosts[0]) {
				return fmt.Errorf("%d %v", status, findings)
			}
			return nil
		})
		mustSignoff(t, "partner", "add", "globex", "--study", demoStudy, "--data", o.data)
		patient := datadir.AppliedTimeout // of other tests; this server never answers
		datadir.AppliedTimeout = 2 * time.Second
		defer func() { datadir.AppliedTimeout = patient }()
		for _, args := range [][]string{{"revoke", "globex", demoStudy}, {"rotate", "globex"}, {"remove", "globex"}} {
			r := signoff(t, append(append([]string{"partner"}, args...), "--data", o.data)...)
			if !regexp.MustCompile(`(?m)^no +every NATS server has answered\n +`+regexp.QuoteMeta(o.hosts[0])+`$`).MatchString(r.err) || r.status != 1 {
				t.Errorf("partner %s does not name the server that has not answered: status %d, %s%s", args[0], r.status, r.out, r.err)
			}
		}
	})
	t.Run("with two killed nothing is acknowledged, and nothing lost", func(t *testing.T) {
		awaitCaughtUp(t, o.p)
		o.kill(1)
		before, err := o.p.Outbox.Source().Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o.sign("2003", "2004")
		// The relay has tried and failed.
		eventually(t, "an attempt to publish", func() error {
			if s := o.p.Relay.Status(); s.Ready() || s.Oldest.IsZero() {
				return errors.New(string(s.State))
			}
			return nil
		})
		head, err := o.p.Outbox.Source().Head(t.Context())
		if err != nil || head.StreamSequence != before.StreamSequence {
			t.Errorf("acknowledged up to %d, before %d, %v", head.StreamSequence, before.StreamSequence, err)
		}
		if n := o.reports(demoStudy); n != 5 {
			t.Errorf("%d reports", n)
		}

		o.kill(2)
		named := func() error {
			_, findings := readiness(t, o.p)
			for _, host := range o.hosts {
				if !strings.Contains(findings["natsServers"], host) {
					return fmt.Errorf("%v", findings)
				}
			}
			return nil
		}
		eventually(t, "the names of all that have answered", named)
		o.stop()
		ready := o.begin()
		eventually(t, "the names of all that are configured", named)
		o.start(0)
		o.start(2)
		arrives(t, "a server that is ready", ready)
		awaitCaughtUp(t, o.p)
		o.start(1)
		if n := o.reports(demoStudy); n != 7 {
			t.Errorf("%d reports once they are back", n)
		}
		eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
		eventually(t, "all servers answer", func() error {
			if _, findings := readiness(t, o.p); findings["natsServers"] != "" {
				return errors.New(findings["natsServers"])
			}
			return nil
		})
	})
	t.Run("the servers' files are the same as before", func(t *testing.T) {
		if r := mustSignoff(t, o.args...); !strings.Contains(r.out, "nothing has changed") {
			t.Error(r.out)
		}
	})
	t.Run("the read model is rebuilt from there", func(t *testing.T) {
		mustSignoff(t, "rebuild", "--data", o.data)
		o.stop()
		flags := o.flags()
		mustSignoff(t, "rebuild", "--data", o.data, "--nats-url", flags.NATSURL, "--nats-creds", flags.NATSCreds)
		o.serve()
		if n := o.reports(demoStudy); n != 7 {
			t.Errorf("%d reports", n)
		}
	})
}

// disconnections are closed connections of a partner with requests that the
// server of the consumer goes on answering, because it is another.
func (o *clusterServer) disconnections(t *testing.T, f *follower) {
	consumer := events.PartnerConsumer("acme", demoStudy)
	js := o.as(t, natsd.Partners)
	c, err := js.Consumer(t.Context(), events.Stream, consumer)
	if err != nil {
		t.Fatal(err)
	}
	patient := c.CachedInfo().Config
	patient.AckWait = time.Hour
	if _, err := js.UpdateConsumer(t.Context(), events.Stream, patient); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"2005", "2006", "2007"} {
		before := o.connections(t)
		for _, c := range before {
			if err := o.p.Accounts.Disconnect(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "another connection", func() error {
			if now := o.connections(t); len(now) == 0 || slices.Contains(before, now[0]) {
				return fmt.Errorf("%v", now)
			}
			return nil
		})
		o.sign(id)
		eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
	}
}

func (o *clusterServer) connections(t *testing.T) []tenancy.Connection {
	t.Helper()
	var all map[string][]tenancy.Connection
	eventually(t, "the connections of all servers", func() (err error) {
		all, err = o.p.Accounts.Connections(t.Context())
		return err
	})
	return all[tenancy.AccountPrefix+"acme"]
}

// as connects as a role, until the test ends.
func (o *clusterServer) as(t *testing.T, role natsd.Role) jetstream.JetStream {
	t.Helper()
	nc, err := o.flags().Reach(slog.New(slog.DiscardHandler)).Connect(role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func (o *clusterServer) grant(t *testing.T) {
	mustSignoff(t, "partner", "grant", "acme", "FHIR-T", "--data", o.data)
	o.sign("790")
	awaitCaughtUp(t, o.p)
	if n := o.reports("FHIR-T"); n != 1 {
		t.Errorf("%d reports over HTTP", n)
	}
	for i := range o.hosts {
		eventually(t, "a login with the new study", func() error { return o.opens(i, "FHIR-T") })
	}
	f := o.follow("FHIR-T")
	eventually(t, "events of the new study", func() error { return f.has(o.last("FHIR-T")) })
	awaitReady(t, o.p)
}

func (o *clusterServer) withdraw(t *testing.T) {
	var other credentials
	added := mustSignoff(t, "partner", "add", "other", "--study", demoStudy, "--study", "FHIR-T", "--data", o.data, "--json")
	if err := json.Unmarshal([]byte(added.out), &other); err != nil {
		t.Fatal(err)
	}
	awaitConsumer(t, o.url(2), "other", other.Secret, demoStudy)
	awaitConsumer(t, o.url(2), "other", other.Secret, "FHIR-T")
	var nc *nats.Conn
	eventually(t, "a login", func() (err error) {
		nc, err = o.login(2, "other", other.Secret)
		return err
	})
	defer nc.Close()
	closed := nc.StatusChanged(nats.CLOSED)
	mustSignoff(t, "partner", "revoke", "other", "FHIR-T", "--data", o.data)
	began := time.Now()
	select {
	case <-closed:
		t.Logf("closed %s after the command", time.Since(began))
	case <-time.After(patience):
		t.Fatal("a connection that had the study stays open")
	}
	awaitConsumer(t, o.url(1), "other", other.Secret, demoStudy) // what is left
	if err := opensConsumer(o.url(1), "other", other.Secret, "FHIR-T"); err == nil {
		t.Error("the study is still open")
	}
	eventually(t, "an end of its consumer", func() error {
		names := o.consumers(t)
		if slices.Contains(names, "other=FHIR-T") || !slices.Contains(names, "other="+demoStudy) {
			return fmt.Errorf("consumers %q", names)
		}
		return nil
	})

	mustSignoff(t, "partner", "remove", "other", "--data", o.data)
	eventually(t, "an end of logins", func() error {
		nc, err := o.login(0, "other", other.Secret)
		if err == nil {
			nc.Close()
			return errors.New("it gets in")
		}
		return nil
	})
}

// consumers are the names of all consumers of the stream.
func (o *clusterServer) consumers(t *testing.T) (names []string) {
	t.Helper()
	stream, err := o.as(t, natsd.Operator).Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	lister := stream.ConsumerNames(t.Context())
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// callouts are two that answer logins while the program is away.
func (o *clusterServer) callouts(t *testing.T) {
	stop := []func(){o.callout(t), o.callout(t)}
	o.stop()
	for i := range o.hosts {
		eventually(t, "a login", func() error { return o.opens(i, demoStudy) })
	}
	stop[0]()
	eventually(t, "a login with one of them", func() error { return o.opens(2, demoStudy) })
	stop[1]()
	if nc, err := o.login(1, "acme", o.secret); err == nil {
		nc.Close()
		t.Error("with none: opened")
	}
	o.serve()
	eventually(t, "a login", func() error { return o.opens(1, demoStudy) })
}

// callout starts signoff callout on an empty directory.
func (o *clusterServer) callout(t *testing.T) (stop func()) {
	t.Helper()
	dir := datadir.Dir(t.TempDir())
	a, err := server.OpenCallout(t.Context(), dir, o.calloutSettings(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, func(datadir.Serving) {}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "answers to logins", func() error {
		if r := signoff(t, "ready", "--data", string(dir)); r.status != exitDone {
			return errors.New(r.err)
		}
		return nil
	})
	return stop
}

func TestAnOutsideServerOverTLS(t *testing.T) {
	data, files := t.TempDir(), testcert.NewFiles(t)
	files.Write(t, testcert.NewPair(t))
	mustSignoff(t, "partner", "add", "acme", "--study", demoStudy, "--data", data)
	c := newCluster(t, data, 1, "--server-cert", files.Cert, "--server-key", files.Key)
	s := c.settings()
	s.NATSURL = strings.Replace(s.NATSURL, "nats://", "tls://", 1)
	var unknown *tls.CertificateVerificationError
	if _, err := server.Open(t.Context(), datadir.Dir(t.TempDir()), s, slog.New(slog.DiscardHandler)); !errors.As(err, &unknown) {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	s.NATSCA = files.Cert
	startWith(t, data, s, slog.New(slog.DiscardHandler))
	mustSignoff(t, "rebuild", "--data", data)
}

// The stream moves from the embedded server to an outside one: it is refilled from the
// outbox, and its readers get an error that it is another stream.
func TestMovingToAnOutsideServer(t *testing.T) {
	data := t.TempDir()
	password := addPI(t, data, "pi", demoStudy)
	mustSignoff(t, "import", "demo/synthetic.ndjson", "--data", data)
	var added credentials
	if err := json.Unmarshal([]byte(mustSignoff(t, "partner", "add", "acme", "--study", demoStudy, "--data", data, "--json").out), &added); err != nil {
		t.Fatal(err)
	}
	p, stop := startServer(t, data)
	sign := func(id string) {
		t.Helper()
		mustSignoff(t, "sign", pinnedIDs(t, data, id)[0], "--as", "pi", "--meaning", meaning, "--password-file", password, "--data", data)
	}
	sign("2001")
	awaitCaughtUp(t, p)
	before, err := p.Outbox.Source().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()

	o := &clusterServer{cluster: newCluster(t, data, 1), password: password, secret: added.Secret}
	o.serveNewStream()
	sign("2002")
	awaitCaughtUp(t, o.p)
	if info := o.stream(); info.State.LastSeq <= before.StreamSequence {
		t.Errorf("the stream ends at %d, before the move at %d", info.State.LastSeq, before.StreamSequence)
	}
	if n := o.reports(demoStudy); n != 2 {
		t.Errorf("%d reports", n)
	}
	f := o.follow(demoStudy)
	eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
}

// What former keys have signed is refused once the servers and the program run with
// others. The stream and partners' positions stay.
func TestKeysOfAnOutsideServerAreChanged(t *testing.T) {
	o := newClusterServer(t, 1)
	f := o.follow(demoStudy)
	o.sign("2001")
	awaitCaughtUp(t, o.p)
	eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
	before := o.stream()
	former := t.TempDir()
	if err := os.CopyFS(former, os.DirFS(o.conf)); err != nil {
		t.Fatal(err)
	}

	settings := o.calloutSettings()
	settings.NATSCreds = filepath.Join(former, natsconf.CredentialsDir, "{role}"+natsconf.CredsSuffix)
	logins, err := server.OpenCallout(t.Context(), datadir.Dir(t.TempDir()), settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	answering := make(chan error, 1)
	go func() { answering <- logins.Run(t.Context(), func(datadir.Serving) {}) }()

	o.stop()
	args := append(o.args, "--new-key", "accounts", "--new-key", "logins", "--new-key", "answers")
	for _, role := range operator.Roles {
		args = append(args, "--new-key", string(role))
	}
	mustSignoff(t, args...)
	o.kill(0)
	o.start(0)
	o.serve()
	o.sign("2002")
	eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
	if after := o.stream(); !after.Created.Equal(before.Created) {
		t.Errorf("the stream was made at %s, before at %s", after.Created, before.Created)
	}

	flags := o.flags()
	flags.NATSCreds = filepath.Join(former, natsconf.CredentialsDir, "{role}"+natsconf.CredsSuffix)
	var group sync.WaitGroup // each takes seconds
	for _, role := range operator.Roles {
		group.Go(func() {
			options, err := flags.Options(role)
			if err != nil {
				t.Error(err)
				return
			}
			if nc, err := nats.Connect(flags.NATSURL, append(options, nats.NoReconnect(), nats.Timeout(time.Minute))...); err == nil {
				nc.Close()
				t.Errorf("%s gets in with former credentials", role)
			}
		})
	}
	group.Wait()
	select {
	case err := <-answering:
		if !errors.Is(err, nats.ErrAuthorization) || !strings.Contains(err.Error(), "nats-config") {
			t.Errorf("signoff callout with former credentials ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("signoff callout with former credentials does not end")
	}
}

// Servers begin with other keys after the former were lost: with another store, which is
// filled from the outbox. Partners go on where they were.
func TestOutsideServersBeginWithOtherKeys(t *testing.T) {
	o := newClusterServer(t, 3)
	f := o.follow(demoStudy)
	o.sign("2001")
	awaitCaughtUp(t, o.p)
	eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
	before := o.stream()

	o.stop()
	if err := os.RemoveAll(datadir.Dir(o.data).NATSKeys()); err != nil {
		t.Fatal(err)
	}
	mustSignoff(t, o.args...)
	for i, host := range o.hosts {
		o.kill(i)
		if err := os.RemoveAll(filepath.Join(o.store, host, "jwt")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range o.hosts {
		o.start(i)
	}
	o.serveNewStream()
	o.sign("2002")
	awaitCaughtUp(t, o.p)
	eventually(t, "the partner's events", func() error { return f.has(o.last(demoStudy)) })
	if after := o.stream(); after.State.LastSeq <= before.State.LastSeq {
		t.Errorf("the stream ends at %d, before at %d", after.State.LastSeq, before.State.LastSeq)
	}
	if n := o.reports(demoStudy); n != 2 {
		t.Errorf("%d reports", n)
	}
}
