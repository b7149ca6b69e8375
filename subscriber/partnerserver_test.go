package subscriber_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/subscriber"
)

const (
	acme   = "acme"
	secret = "correct-horse"
)

// partnerServer is a NATS server with the account of a partner as the publisher sets it
// up, and a token endpoint whose access tokens it accepts.
type partnerServer struct {
	dir      string
	server   *server.Server
	nc       *nats.Conn // of the publisher
	js       jetstream.JetStream
	endpoint *httptest.Server

	release func() // of the port, which is the same after each start

	mu      sync.Mutex
	port    int
	tls     *tls.Config
	granted []string         // studies that the partner may see now
	secret  string           // the partner's
	tokens  map[string]bool  // the valid ones
	issued  int              // access tokens so far
	life    int64            // seconds for which an access token is said to be valid
	clients map[uint64]bool  // connections of the partner
	answer  http.HandlerFunc // instead of the token endpoint
	apart   string           // study for whose consumer nobody answers, from the next start on
	entered int              // logins of the partner
	logins  chan int         // their number, each time
}

// openServer starts everything, with consumers of the partner for the studies.
func openServer(dir string, studies ...string) (*partnerServer, error) {
	d := &partnerServer{
		dir: dir, granted: studies, secret: secret, life: 3600,
		tokens: make(map[string]bool), clients: make(map[uint64]bool), logins: make(chan int, 100),
	}
	d.endpoint = httptest.NewServer(http.HandlerFunc(d.serveToken))
	var err error
	if d.port, d.release, err = brokertest.ReservePort("127.0.0.1", 0); err != nil {
		return nil, err
	}
	if err := d.start(); err != nil {
		return nil, err
	}
	_, err = d.js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name:             events.Stream,
		Subjects:         []string{events.IngestWildcard},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: events.IngestWildcard, Destination: events.StoredWildcard},
		Storage:          jetstream.FileStorage,
		Duplicates:       100 * time.Millisecond,

		AllowAtomicPublish: true,
	})
	for _, study := range studies {
		err = errors.Join(err, d.consumer(study, nil))
	}
	return d, errors.Join(err, d.announcements())
}

func newServer(t testing.TB, studies ...string) *partnerServer {
	t.Helper()
	d, err := openServer(t.TempDir(), studies...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func (d *partnerServer) close() {
	d.endpoint.Close()
	d.stop()
	d.release()
}

func (d *partnerServer) stop() {
	d.nc.Close()
	d.server.Shutdown()
	d.server.WaitForShutdown()
}

// start takes the same port each time. Clients have so much time to log in that they may
// be slow.
func (d *partnerServer) start() error {
	opts := &server.Options{}
	keys := slices.DeleteFunc([]string{"S1", "S2", exampleStudy, events.PartnerStudy(acme)}, func(t string) bool { return t == d.apart })
	if err := opts.ProcessConfigString(accounts(keys...)); err != nil {
		return err
	}
	opts.ServerName, opts.Host, opts.Port = "partner-test", "127.0.0.1", d.port
	opts.JetStream, opts.StoreDir, opts.SyncAlways = true, d.dir, true
	opts.AuthTimeout, opts.TLSTimeout = enough.Seconds(), enough.Seconds()
	opts.NoLog, opts.NoSigs, opts.DisableJetStreamBanner = true, true, true
	opts.CustomClientAuthentication = d
	if d.tls != nil {
		opts.TLS, opts.TLSConfig = true, d.tls
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	d.server = s
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return errors.New("the server does not start")
	}
	d.port = opts.Port
	if d.nc, err = nats.Connect("", nats.InProcessServer(s), nats.UserInfo("app", "app"), nats.Timeout(enough)); err != nil {
		return err
	}
	d.js, err = jetstream.New(d.nc, jetstream.WithDefaultTimeout(enough))
	return err
}

// accounts is the configuration with exports and imports of each consumer.
func accounts(keys ...string) string {
	const app, account = "APP", "partner-" + acme
	var exports, imports strings.Builder
	for _, key := range keys {
		name := consumerName(key)
		for _, api := range []string{"CONSUMER.MSG.NEXT", "CONSUMER.INFO"} {
			kind := ""
			if api == "CONSUMER.MSG.NEXT" {
				kind = "response_type: stream,"
			}
			fmt.Fprintf(&exports, "{service: %q, %s accounts: [%s]}\n", "$JS.API."+api+".SIGNOFF."+name, kind, account)
			fmt.Fprintf(&imports, "{service: {account: %s, subject: %q}, to: %q}\n", app, "$JS.API."+api+".SIGNOFF."+name, "js.signoff."+api+".SIGNOFF."+name)
		}
		for _, ack := range acks(name) {
			fmt.Fprintf(&exports, "{service: %q, accounts: [%s]}\n", ack, account)
			fmt.Fprintf(&imports, "{service: {account: %s, subject: %q}}\n", app, ack)
		}
	}
	return fmt.Sprintf("accounts { %s { jetstream: enabled, exports: [%s] }\n %s { imports: [%s] } }", app, &exports, account, &imports)
}

func consumerName(key string) string {
	if key == events.PartnerStudy(acme) {
		return acme
	}
	return acme + "=" + key
}

func acks(name string) []string {
	return []string{"$JS.ACK.SIGNOFF." + name + ".>", "$JS.ACK.*.*.SIGNOFF." + name + ".>"}
}

// Check admits the publisher, and the partner with an access token, who may use the
// consumers of what is granted at that time.
func (d *partnerServer) Check(c server.ClientAuthentication) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.GetOpts().Username == "app" {
		return d.register(c, "APP", &server.Permissions{})
	}
	if !d.tokens[c.GetOpts().Token] {
		return false
	}
	publish := []string{}
	for _, key := range append([]string{events.PartnerStudy(acme)}, d.granted...) {
		name := consumerName(key)
		publish = append(publish, "js.signoff.CONSUMER.INFO.SIGNOFF."+name, "js.signoff.CONSUMER.MSG.NEXT.SIGNOFF."+name)
		publish = append(publish, acks(name)...)
	}
	d.clients[c.GetID()] = true
	d.entered++
	select {
	case d.logins <- d.entered:
	default:
	}
	return d.register(c, "partner-"+acme, &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	})
}

func (d *partnerServer) register(c server.ClientAuthentication, account string, p *server.Permissions) bool {
	a, err := d.server.LookupAccount(account)
	if err != nil {
		return false
	}
	c.RegisterUser(&server.User{Username: account, Account: a, Permissions: p})
	return true
}

func (d *partnerServer) serveToken(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if answer := d.answer; answer != nil {
		d.mu.Unlock()
		defer d.mu.Lock()
		answer(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.PostFormValue("client_id") != acme || r.PostFormValue("client_secret") != d.secret ||
		r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "full" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
		return
	}
	d.issued++
	token := fmt.Sprintf("token-%d", d.issued)
	d.tokens[token] = true
	_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "access_token": token, "scope": "full", "expires_in": d.life})
}

// change changes the settings, under the lock.
func (d *partnerServer) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// disconnect disconnects the partner.
func (d *partnerServer) disconnect() {
	d.mu.Lock()
	clients := slices.Collect(maps.Keys(d.clients))
	clear(d.clients)
	d.mu.Unlock()
	for _, id := range clients {
		_ = d.server.DisconnectClientByID(id) // may be gone already
	}
}

// revoke takes a study from the partner in the order in which the publisher
// does: logins, consumer, connections.
func (d *partnerServer) revoke(t testing.TB, study string) {
	t.Helper()
	d.change(func() { d.granted = slices.DeleteFunc(d.granted, func(s string) bool { return s == study }) })
	d.deleteConsumer(t, study)
	d.disconnect()
}

// consumer makes the partner's consumer of a study.
func (d *partnerServer) consumer(study string, change func(*jetstream.ConsumerConfig)) error {
	cfg := jetstream.ConsumerConfig{
		Durable: consumerName(study), FilterSubject: events.StudySubjects(study),
		AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
	}
	if change != nil {
		change(&cfg)
	}
	_, err := d.js.CreateOrUpdateConsumer(context.Background(), events.Stream, cfg)
	return err
}

func (d *partnerServer) announcements() error {
	return d.consumer(events.PartnerStudy(acme), func(cfg *jetstream.ConsumerConfig) {
		cfg.FilterSubject = events.PartnerAccessSubject(acme)
	})
}

func (d *partnerServer) deleteConsumer(t testing.TB, study string) {
	t.Helper()
	if err := d.js.DeleteConsumer(context.Background(), events.Stream, consumerName(study)); err != nil {
		t.Fatal(err)
	}
}

// publish stores events in the form in which the relay does.
func (d *partnerServer) publish(list ...events.Event) error {
	for _, e := range list {
		msg := &nats.Msg{Subject: events.IngestPrefix + e.NATSSubject(), Header: e.Header(), Data: e.Data}
		if _, err := d.js.PublishMsg(context.Background(), msg); err != nil {
			return err
		}
	}
	return nil
}

func (d *partnerServer) credentials() subscriber.Credentials {
	return subscriber.Credentials{TokenURL: d.endpoint.URL, ClientID: acme, Secret: subscriber.Secret(secret)}
}

func (d *partnerServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", d.port) }

// dial connects the partner, with short waits.
func (d *partnerServer) dial(t testing.TB, cfg subscriber.PartnerConfig) *subscriber.Partner {
	t.Helper()
	if cfg.Outage == nil {
		cfg.Outage = func(error) {}
	}
	p, err := subscriber.Dial(t.Context(), d.credentials(), d.url(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// admitted returns when the partner has logged in n times.
func (d *partnerServer) admitted(t testing.TB, n int) {
	t.Helper()
	limit := time.After(enough)
	for {
		select {
		case got := <-d.logins:
			if got >= n {
				return
			}
		case <-limit:
			t.Fatalf("the partner did not log in %d times", n)
		}
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

const exampleStudy = "C3861001"

// examplePublisher is a partnerServer as an example sees it.
type examplePublisher struct {
	*partnerServer
	dir, tokenURL, natsURL, secretFile string
}

// openPublisher starts a publisher with n events of the study of the example, which
// is granted to the partner. It panics where a test would fail.
func openPublisher(n int) examplePublisher {
	dir, err := os.MkdirTemp("", "signoff-example-*")
	if err != nil {
		panic(err)
	}
	d, err := openServer(dir, exampleStudy)
	if err != nil {
		panic(err)
	}
	reports := &study{key: exampleStudy, body: []byte(`{"resourceType":"DiagnosticReport","status":"final"}`)}
	announcement := (&study{key: events.PartnerStudy(acme)}).announce(events.AccessGranted, exampleStudy)
	if err := d.publish(append(reports.take(n), announcement)...); err != nil {
		panic(err)
	}
	p := examplePublisher{partnerServer: d, dir: dir, tokenURL: d.endpoint.URL, natsURL: d.url(), secretFile: dir + "/secret"}
	if err := os.WriteFile(p.secretFile, []byte(secret), 0o600); err != nil {
		panic(err)
	}
	return p
}

// dial connects the partner as Example_partner shows.
func (p examplePublisher) dial() *subscriber.Partner {
	partner, err := subscriber.Dial(context.Background(), p.credentials(), p.natsURL, subscriber.PartnerConfig{})
	if err != nil {
		panic(err)
	}
	return partner
}

func (p examplePublisher) close() {
	p.partnerServer.close()
	_ = os.RemoveAll(p.dir) // it is temporary anyway
}
