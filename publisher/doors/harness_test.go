package doors_test

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
	"go.uber.org/goleak"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/events/access"
	"github.com/seed-e88a4ece/signoff/publisher"
	"github.com/seed-e88a4ece/signoff/publisher/doors"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
)

const timeout = 30 * time.Second

// site is where a house stands: the embedded server, or a cluster.
type site interface {
	doors.Accounts
	Connect(natsd.Role, ...nats.Option) (*nats.Conn, error)
	Credentials(natsd.Role) natsd.Credentials
	ClientURL() string
}

// house is an embedded server, or a cluster, with its stream and doors.
type house struct {
	t      testing.TB
	cfg    doors.Config
	dir    string
	seed   []byte
	signer *access.Signer
	book   *book
	ledger *ledger

	site   site
	server *natsd.Server       // the embedded one
	writer jetstream.JetStream // of the publisher
	doors  *doors.Doors
	stop   func() // the doors, and waits for their end
}

func newHouse(t testing.TB, cfg doors.Config) *house {
	t.Helper()
	return newHouseIn(t, t.TempDir(), cfg)
}

// newHouseIn is a house on files that may be there already, with partners that
// are known from the start.
func newHouseIn(t testing.TB, dir string, cfg doors.Config, known ...access.Partner) *house {
	t.Helper()
	h := furnish(t, cfg)
	h.dir = dir
	for _, p := range known {
		h.book.d = h.book.d.WithPartner(p)
	}
	h.startServer()
	h.startDoors()
	h.ready()
	return h
}

// furnish makes a house with nothing running.
func furnish(t testing.TB, cfg doors.Config) *house {
	t.Helper()
	seed, err := doors.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
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
	h := &house{
		t: t, cfg: cfg, seed: seed, signer: signer,
		book: &book{changed: make(chan struct{}, 1)}, ledger: &ledger{kept: make(map[string]events.Receipt)},
	}
	h.book.d = access.Directory{}.WithKey(signer.Key(time.Now().Add(-time.Hour)))
	return h
}

func (h *house) startServer() {
	h.t.Helper()
	public, err := doors.IssuerKey(h.seed)
	if err != nil {
		h.t.Fatal(err)
	}
	h.server, err = natsd.Start(natsd.Config{Dir: h.dir, Listen: "127.0.0.1:0", LoginIssuer: public, Log: h.cfg.Log})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(h.server.Shutdown)
	h.site = h.server
	h.makeStream(1)
}

func (h *house) makeStream(replicas int) {
	h.t.Helper()
	var err error
	if h.writer, err = jetstream.New(h.connect(natsd.Publisher)); err != nil {
		h.t.Fatal(err)
	}
	if _, err := publisher.EnsureStream(h.t.Context(), h.writer, publisher.StreamConfig{Replicas: replicas}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) connect(role natsd.Role) *nats.Conn {
	h.t.Helper()
	nc, err := h.site.Connect(role, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	return nc
}

func (h *house) startDoors() {
	h.t.Helper()
	var err error
	h.doors, err = doors.New(h.connect(natsd.Doors), h.site, h.book, h.ledger, h.seed, h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func(d *doors.Doors) { done <- d.Run(ctx) }(h.doors)
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				h.t.Error(err)
			}
		})
	}
	h.t.Cleanup(h.stop)
}

func (h *house) ready() {
	h.t.Helper()
	until(h.t, "the doors are ready", func() bool { return h.doors.Status().Ready })
}

// restart stops the server and starts another on the same files.
func (h *house) restart() {
	h.t.Helper()
	h.stop()
	h.server.Shutdown()
	h.startServer()
	h.startDoors()
	h.ready()
}

// set puts a partner with these studies into the directory; its secret is its
// id and a few words.
func (h *house) set(id string, studies ...string) {
	h.t.Helper()
	h.setPartner(partner(id, studies...))
}

func partner(id string, studies ...string) access.Partner {
	return access.Partner{ID: id, Studies: studies, Enabled: true, Secrets: []access.Secret{{SHA256: access.DigestSecret(secretOf(id))}}}
}

func (h *house) setPartner(p access.Partner) {
	h.book.change(func(d access.Directory) access.Directory { return d.WithPartner(p) })
}

// admit is set, and waits until a login opens just that.
func (h *house) admit(id string, studies ...string) {
	h.t.Helper()
	h.set(id, studies...)
	defer func() {
		if h.t.Failed() {
			h.t.Log(h.doors.Status())
		}
	}()
	until(h.t, fmt.Sprintf("%s is admitted to %v", id, studies), func() bool {
		nc, err := h.login(id)
		if err != nil {
			return false
		}
		defer nc.Close()
		for _, study := range studies {
			if _, err := info(nc, events.PartnerConsumer(id, events.StudyKey(study))); err != nil {
				return false
			}
		}
		list, err := h.site.Connections(h.t.Context(), "partner-"+id)
		return err == nil && len(list) > 0 && strings.HasSuffix(list[0].User, grants(studies))
	})
}

func secretOf(id string) string { return id + " and a few words" }

func (h *house) token(id string) string {
	h.t.Helper()
	token, err := h.signer.Issue("1", "test", id, secretOf(id), time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// login connects over TCP by secret.
func (h *house) login(id string, opts ...nats.Option) (*nats.Conn, error) {
	return h.dial(append([]nats.Option{nats.UserInfo(id, secretOf(id))}, opts...)...)
}

func (h *house) dial(opts ...nats.Option) (*nats.Conn, error) {
	quiet := []nats.Option{
		nats.NoReconnect(), nats.Timeout(timeout),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	return connect(h.site.ClientURL(), append(quiet, opts...)...)
}

// connect tries again when the login took so long that the server had pinged before,
// as on a machine that has much else to do.
func connect(url string, opts ...nats.Option) (nc *nats.Conn, err error) {
	for range 3 {
		nc, err = nats.Connect(url, opts...)
		if err == nil || !strings.Contains(err.Error(), "got 'PING'") {
			break
		}
	}
	return nc, err
}

// mustLogin connects by secret until the test ends.
func (h *house) mustLogin(id string, opts ...nats.Option) *nats.Conn {
	h.t.Helper()
	nc, err := h.login(id, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	return nc
}

// publish stores messages of a study.
func (h *house) publish(study string, bodies ...string) {
	h.t.Helper()
	for _, body := range bodies {
		subject := "in." + events.PartnerPrefix + events.StudyKey(study) + ".DiagnosticReport.signed"
		if _, err := h.writer.Publish(h.t.Context(), subject, []byte(body)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// consumer returns a partner's consumer by the way that partners have.
func consumer(t testing.TB, nc *nats.Conn, name string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.NewWithAPIPrefix(nc, events.PartnerAPIPrefix)
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
	deadline := time.NewTimer(timeout)
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

// wantUnanswered makes sure that a login failed, however the client came to know:
// the server pings it after 2 s, which the client takes for a wrong answer, or
// says that it is refused.
func wantUnanswered(t testing.TB, what string, nc *nats.Conn, err error) {
	t.Helper()
	if err == nil {
		nc.Close()
		t.Errorf("%s: opened", what)
	}
}

func same[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the server's file store now and then leaves these behind
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}
