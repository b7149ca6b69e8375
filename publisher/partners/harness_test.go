package partners_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/callout"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/partners"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const timeout = time.Minute // of what must happen; a request for events may not wait longer

// natsServers are what an installation runs on: the embedded server, or a cluster.
type natsServers interface {
	Connect(natsd.Role, ...nats.Option) (*nats.Conn, error)
	Credentials(natsd.Role) ([]byte, error)
	ClientURL() string
}

// accounts are what an installation sets and looks at on them.
type accounts interface {
	partners.Accounts
	callout.Servers
}

// config is that of all parts of an installation.
type config struct {
	Limits                             tenancy.Limits
	Rate, Burst, MaxPending            int
	MaxConsumers, Replicas             int
	AckWait, Absent, Interval, Measure time.Duration
	CompareInterval                    time.Duration
	withdrawTimeout                    time.Duration
	Clock                              func() time.Time
	Log                                *slog.Logger
}

func (c config) callout() callout.Config {
	return callout.Config{
		Limits: c.Limits, Rate: c.Rate, Burst: c.Burst, MaxPending: c.MaxPending,
		Interval: c.Interval, Measure: c.Measure, Clock: c.Clock, Log: c.Log,
	}
}

func (c config) partners() partners.Config {
	return partners.WithdrawWithin(partners.Config{
		MaxConsumers: c.MaxConsumers, Replicas: c.Replicas,
		AckWait: c.AckWait, Absent: c.Absent, Interval: c.Interval, CompareInterval: c.CompareInterval, Clock: c.Clock, Log: c.Log,
	}, c.withdrawTimeout)
}

// installation is an embedded server, or a cluster, with its stream, and with the callout,
// the enforcer and the reconciler on it. The tests of this package run all of these.
type installation struct {
	t         testing.TB
	cfg       config
	dir       string
	keys      *operator.Keys
	preload   *operator.Preload
	signer    *access.Signer
	directory *directory
	receipts  *receipts

	servers    natsServers
	accounts   accounts
	server     *natsd.Server       // the embedded one
	writer     jetstream.JetStream // of the publisher
	callout    *callout.Callout
	enforcer   *callout.Enforcer
	reconciler *partners.Reconciler
	stop       func() // stops these three, and waits for their end
	probes     int    // consumers that waitForTwoRounds has created
}

func newInstallation(t testing.TB, cfg config) *installation {
	t.Helper()
	return newInstallationIn(t, t.TempDir(), cfg)
}

// newInstallationIn returns an installation on files that may exist already, with partners
// that are in the directory from the start.
func newInstallationIn(t testing.TB, dir string, cfg config, known ...access.Partner) *installation {
	t.Helper()
	cfg.withdrawTimeout = timeout // the server always answers
	h := prepare(t, cfg)
	h.dir = dir
	for _, p := range known {
		h.directory.d = h.directory.d.WithPartner(p)
	}
	h.startServer()
	h.startService()
	h.ready()
	return h
}

// prepare returns an installation with nothing running.
func prepare(t testing.TB, cfg config) *installation {
	t.Helper()
	private, err := access.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := access.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	cfg.Interval = cmp.Or(cfg.Interval, 50*time.Millisecond)
	h := &installation{
		t: t, cfg: cfg, signer: signer,
		directory: &directory{changed: make(chan struct{}, 1)}, receipts: &receipts{kept: make(map[string]events.Receipt)},
	}
	h.directory.d = access.Directory{}.WithKey(signer.Key(time.Now().Add(-time.Hour)))
	return h
}

func (h *installation) startServer() {
	h.t.Helper()
	var err error
	h.server, err = natsd.Start(natsd.Config{Dir: h.dir, Listen: "127.0.0.1:0", Log: h.cfg.Log})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(h.server.Shutdown)
	h.servers, h.keys, h.preload = h.server, h.server.Keys(), h.server.Preload()
	h.reach(h.server.Accounts())
	h.makeStream(1)
}

// reach has what starts from now on use these accounts.
func (h *installation) reach(a *operator.Accounts) {
	h.accounts = a
	h.t.Cleanup(a.Close)
}

func (h *installation) makeStream(replicas int) {
	h.t.Helper()
	var err error
	if h.writer, err = jetstream.New(h.connect(natsd.Publisher), jetstream.WithDefaultTimeout(timeout)); err != nil {
		h.t.Fatal(err)
	}
	if _, err := publisher.EnsureStream(h.t.Context(), h.writer, publisher.StreamConfig{Replicas: replicas}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *installation) connect(role natsd.Role) *nats.Conn {
	h.t.Helper()
	nc, err := h.servers.Connect(role, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	return nc
}

// startService starts callout, enforcer and reconciler.
func (h *installation) startService() {
	h.t.Helper()
	var err error
	nc := h.connect(natsd.Partners)
	h.callout = callout.New(h.connect(natsd.Callout), h.directory, h.keys.Answers(), h.cfg.callout())
	h.enforcer = callout.NewEnforcer(nc, h.accounts, h.callout)
	h.reconciler, err = partners.New(nc, h.accounts, h.directory, h.receipts, h.callout, h.enforcer, h.cfg.partners())
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	reconciler, enforcer := h.reconciler, h.enforcer
	var running errgroup.Group
	running.Go(func() error { return reconciler.Run(ctx) })
	running.Go(func() error { return enforcer.Run(ctx, reconciler.EndRequests) })
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := running.Wait(); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.t.Cleanup(h.stop)
}

func (h *installation) ready() {
	h.t.Helper()
	until(h.t, "the service is ready", func() bool { return h.reconciler.Status().Ready })
}

// restart stops the server and starts another on the same files.
func (h *installation) restart() {
	h.t.Helper()
	h.stop()
	h.server.Shutdown()
	h.startServer()
	h.startService()
	h.ready()
}

// set puts a partner with these studies into the directory; its secret is its
// id and a few words.
func (h *installation) set(id string, studies ...string) {
	h.t.Helper()
	h.setPartner(partner(id, studies...))
}

func partner(id string, studies ...string) access.Partner {
	return access.Partner{ID: id, Studies: studies, Enabled: true, Secrets: []access.Secret{{SHA256: access.DigestSecret(secretOf(id))}}}
}

func (h *installation) setPartner(p access.Partner) {
	h.directory.change(func(d access.Directory) access.Directory { return d.WithPartner(p) })
}

// admit is set, and waits until a login opens just that.
func (h *installation) admit(id string, studies ...string) {
	h.t.Helper()
	h.set(id, studies...)
	defer func() {
		if h.t.Failed() {
			h.t.Log(h.reconciler.Status())
		}
	}()
	until(h.t, fmt.Sprintf("%s is admitted to %v", id, studies), func() bool {
		nc, err := h.login(id)
		if err != nil {
			return false
		}
		defer nc.Close()
		for _, study := range studies {
			// It may take until the next attempt: a request may stay unanswered before.
			if _, err := nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF."+events.PartnerConsumer(id, events.StudyKey(study)), nil, 5*time.Second); err != nil {
				return false
			}
		}
		list, err := h.connections(id)
		return err == nil && len(list) > 0 && strings.HasSuffix(list[0].User, grants(studies))
	})
}

// connections returns those of a partner.
func (h *installation) connections(id string) ([]tenancy.Connection, error) {
	all, err := h.accounts.Connections(h.t.Context())
	return all["partner-"+id], err
}

func secretOf(id string) string { return id + " and a few words" }

func (h *installation) token(id string) string {
	h.t.Helper()
	token, err := h.signer.Issue("1", "test", id, secretOf(id), time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// login connects over TCP by secret.
func (h *installation) login(id string, opts ...nats.Option) (*nats.Conn, error) {
	return h.dial(append([]nats.Option{nats.UserInfo(id, secretOf(id))}, opts...)...)
}

func (h *installation) dial(opts ...nats.Option) (*nats.Conn, error) {
	return connect(h.servers.ClientURL(), opts...)
}

// connect tries again when the login took so long that the server had pinged before,
// as on a machine that has much else to do.
func connect(url string, opts ...nats.Option) (nc *nats.Conn, err error) {
	for end := time.Now().Add(timeout); ; {
		nc, err = connectOnce(url, opts...)
		if err == nil || !strings.Contains(err.Error(), "got 'PING'") || time.Now().After(end) {
			return nc, err
		}
	}
}

func connectOnce(url string, opts ...nats.Option) (*nats.Conn, error) {
	quiet := []nats.Option{
		nats.NoReconnect(), nats.Timeout(timeout),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	return nats.Connect(url, append(quiet, opts...)...)
}

// mustLogin connects by secret until the test ends.
func (h *installation) mustLogin(id string, opts ...nats.Option) *nats.Conn {
	h.t.Helper()
	nc, err := h.login(id, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	return nc
}

// publish stores messages of a study.
func (h *installation) publish(study string, bodies ...string) {
	h.t.Helper()
	for _, body := range bodies {
		subject := "in." + events.PartnerPrefix + events.StudyKey(study) + ".DiagnosticReport.signed"
		until(h.t, "the stream has a leader", func() bool { // in a cluster another may have to be elected
			_, err := h.writer.Publish(h.t.Context(), subject, []byte(body))
			if err != nil && !errors.Is(err, jetstream.ErrNoStreamResponse) {
				h.t.Fatal(err)
			}
			return err == nil
		})
	}
}

// consumer returns a partner's consumer by the way that partners have.
func consumer(t testing.TB, nc *nats.Conn, name string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.NewWithAPIPrefix(nc, events.PartnerAPIPrefix, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), events.Stream, name)
	if err != nil {
		t.Fatalf("consumer %s: %v", name, err)
	}
	return c
}

func info(nc *nats.Conn, name string) (*nats.Msg, error) {
	return nc.Request("js.signoff.CONSUMER.INFO.SIGNOFF."+name, nil, timeout)
}

// take pulls n messages and acknowledges them.
func take(t testing.TB, c jetstream.Consumer, n int) []string {
	t.Helper()
	var bodies []string
	for len(bodies) < n {
		msg, err := c.Next(jetstream.FetchMaxWait(timeout))
		if err != nil {
			t.Fatalf("after %q: %v", bodies, err)
		}
		bodies = append(bodies, string(msg.Data()))
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return bodies
}

// none makes sure that nothing is left to pull.
func none(t testing.TB, c jetstream.Consumer) {
	t.Helper()
	batch, err := c.FetchNoWait(1)
	if err != nil {
		t.Fatal(err)
	}
	for msg := range batch.Messages() {
		t.Errorf("pulled %q", msg.Data())
	}
}

// until tries again until what is wanted holds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(5 * timeout) // more than a few attempts may take
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func wantRefused(t testing.TB, what string, nc *nats.Conn, err error) {
	t.Helper()
	if err == nil {
		nc.Close()
	}
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("%s: %v", what, err)
	}
}

// wantUnanswered makes sure that a login fails, however the client comes to know:
// the server pings it after 2 s, which the client takes for a wrong answer, or
// says that it is refused. It returns the error.
func (h *installation) wantUnanswered(t testing.TB, what string, opts ...nats.Option) error {
	t.Helper()
	nc, err := connectOnce(h.servers.ClientURL(), opts...)
	if err == nil {
		nc.Close()
		t.Errorf("%s: opened", what)
	}
	return err
}

// bySecret logs in with the secret of set.
func bySecret(id string) nats.Option { return nats.UserInfo(id, secretOf(id)) }

func same[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestMain(m *testing.M) {
	brokertest.Main()
	leaktest.Main(m)
}
