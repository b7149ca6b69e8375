package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

var limits = tenancy.Limits{Connections: 4, Subscriptions: 50, Payload: 4096}

// loginServer is a server whose logins are answered: the user name is that of the
// account to be in, with all its permissions; the name of the connection is
// kept. With no account of that name nobody gets in.
type loginServer struct {
	*natsd.Server
	t  *testing.T
	js jetstream.JetStream
}

func newLoginServer(t *testing.T) *loginServer {
	t.Helper()
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &loginServer{Server: start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", LoginIssuer: public}), t: t}
	publisher := connect(t, s.Server, natsd.Publisher)
	store(t, publisher, "one")
	if s.js, err = jetstream.New(publisher); err != nil {
		t.Fatal(err)
	}
	service := connect(t, s.Server, natsd.Partners)
	if _, err := service.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) { answer(t, issuer, m) }); err != nil {
		t.Fatal(err)
	}
	if err := service.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

func answer(t *testing.T, issuer nkeys.KeyPair, m *nats.Msg) {
	request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
	if err != nil {
		t.Error(err)
		return
	}
	user := jwt.NewUserClaims(request.UserNkey)
	user.Audience, user.Name = request.ConnectOptions.Username, "user of "+request.ConnectOptions.Name
	user.Sub.Allow.Add(">")
	user.Pub.Allow.Add(">")
	response := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	response.Audience = request.Server.ID
	if response.Jwt, err = user.Encode(issuer); err != nil {
		t.Error(err)
	}
	text, err := response.Encode(issuer)
	if err != nil {
		t.Error(err)
	}
	if err := m.Respond([]byte(text)); err != nil {
		t.Error(err)
	}
}

func (s *loginServer) login(account string, opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(s.ClientURL(), append(opts, nats.UserInfo(account, "any"), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err == nil {
		s.t.Cleanup(nc.Close)
	}
	return nc, err
}

func (s *loginServer) mustLogin(account string, opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	nc, err := s.login(account, opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return nc
}

// consumer makes the durable consumer of a study for a partner.
func (s *loginServer) consumer(partner, study string) {
	s.t.Helper()
	_, err := s.js.CreateConsumer(s.t.Context(), events.Stream, jetstream.ConsumerConfig{
		Durable: events.PartnerConsumer(partner, study), FilterSubject: events.StudySubjects(study), AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *loginServer) set(partner string, studies ...string) {
	s.t.Helper()
	if err := s.SetAccount(s.t.Context(), tenancy.AccountOf(partner, studies, limits)); err != nil {
		s.t.Fatal(err)
	}
}

// pull asks for one message, without waiting for one to be stored.
func pull(nc *nats.Conn, partner, study string) (*nats.Msg, error) {
	return nc.Request("js.signoff.CONSUMER.MSG.NEXT.SIGNOFF."+events.PartnerConsumer(partner, study), []byte(`{"batch":1,"no_wait":true}`), 5*time.Second)
}

func TestAnAccountLetsThroughWhatItIsSetTo(t *testing.T) {
	s := newLoginServer(t)
	s.consumer("acme", "S")
	if _, err := s.login("partner-acme"); !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("an account that does not exist yet: %v", err)
	}
	s.set("acme", "S")
	s.set("other")
	nc := s.mustLogin("partner-acme")
	live, err := nc.SubscribeSync("crit.>")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := s.mustLogin("partner-other").SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	sync := func() {
		t.Helper()
		if err := errors.Join(nc.Flush(), connect(t, s.Server, natsd.Publisher).Flush()); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(text string) {
		t.Helper()
		sync()
		if _, err := s.js.Publish(t.Context(), "in.crit.v1.S.DiagnosticReport.signed", []byte(text)); err != nil {
			t.Fatal(err)
		}
		sync()
	}

	msg, err := pull(nc, "acme", "S")
	if err != nil || string(msg.Data) != "one" {
		t.Fatalf("pulled %v, %v", msg, err)
	}
	if err := msg.AckSync(); err != nil {
		t.Error(err)
	}
	publish("two")
	if msg, err := live.NextMsg(5 * time.Second); err != nil || string(msg.Data) != "two" {
		t.Errorf("live %v, %v", msg, err)
	}

	// Without the study, and with it again.
	s.set("acme")
	if msg, err := pull(nc, "acme", "S"); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("pulled %v, %v", msg, err)
	}
	publish("three")
	if n, _, err := live.Pending(); err != nil || n != 0 {
		t.Errorf("%d live messages, %v", n, err)
	}
	s.set("acme", "S")
	if msg, err := pull(nc, "acme", "S"); err != nil || string(msg.Data) != "two" {
		t.Errorf("pulled %v, %v", msg, err)
	}
	publish("four")
	if msg, err := live.NextMsg(5 * time.Second); err != nil || string(msg.Data) != "four" {
		t.Errorf("live %v, %v", msg, err)
	}
	if n, _, err := elsewhere.Pending(); err != nil || n != 0 {
		t.Errorf("%d messages in another account, %v", n, err)
	}
}

func TestAnAccountHasLimits(t *testing.T) {
	s := newLoginServer(t)
	s.set("acme")
	var open []*nats.Conn
	for range limits.Connections {
		open = append(open, s.mustLogin("partner-acme"))
	}
	if _, err := s.login("partner-acme"); err == nil {
		t.Error("one connection too many")
	}
	if n := open[0].MaxPayload(); n != int64(limits.Payload) {
		t.Errorf("payload of %d bytes", n)
	}
	for i := range limits.Subscriptions + 1 {
		if _, err := open[1].SubscribeSync(fmt.Sprintf("a.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = open[1].Flush() // the connection may be closed by then
	if err := open[1].LastError(); !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		t.Errorf("%d subscriptions: %v", limits.Subscriptions+1, err)
	}

	closing := open[0].StatusChanged(nats.CLOSED)
	if err := s.SetAccount(t.Context(), tenancy.ClosedAccount("acme")); err != nil {
		t.Fatal(err)
	}
	wait(t, closing)
	if _, err := s.login("partner-acme"); err == nil {
		t.Error("a login into a closed account")
	}
}

func wait(t *testing.T, status chan nats.Status) {
	t.Helper()
	select {
	case <-status:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection stays open")
	}
}

func TestConnectionsAreListedByAccountAndClosedOneByOne(t *testing.T) {
	s := newLoginServer(t)
	s.set("acme")
	s.set("other")
	one, two := s.mustLogin("partner-acme", nats.Name("one")), s.mustLogin("partner-acme", nats.Name("two"))
	s.mustLogin("partner-other", nats.Name("three"))
	list, err := s.Connections(t.Context(), "partner-acme")
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, c := range list {
		users = append(users, c.User)
	}
	slices.Sort(users)
	if !slices.Equal(users, []string{"user of one", "user of two"}) {
		t.Fatalf("users %q", users)
	}
	closed := one.StatusChanged(nats.CLOSED)
	for _, c := range list {
		if c.User == "user of one" {
			for range 2 { // the second time there is none
				if err := s.Disconnect(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	wait(t, closed)
	if err := two.Flush(); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	if list, err := s.Connections(t.Context(), "partner-nobody"); err != nil || len(list) != 0 {
		t.Errorf("connections of an account that does not exist: %v, %v", list, err)
	}
}

func TestWhatAccountsSendIsCounted(t *testing.T) {
	s := newLoginServer(t)
	s.set("acme")
	s.set("other")
	nc := s.mustLogin("partner-acme")
	sends(t, nc, 3)
	wantTraffic(t, s, "partner-acme", 3)
	nc.Close()
	sends(t, s.mustLogin("partner-acme"), 4)
	wantTraffic(t, s, "partner-acme", 7)
	wantTraffic(t, s, "partner-other", 0)
}

// sends has a client send messages, permitted or not.
func sends(t *testing.T, nc *nats.Conn, n int) {
	t.Helper()
	for range n {
		if err := nc.Publish("$JS.API.STREAM.DELETE.SIGNOFF", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// wantTraffic waits until a server has counted what an account sent: it does so
// a moment after it has answered.
func wantTraffic(t *testing.T, from interface {
	Traffic(context.Context) ([]tenancy.Traffic, error)
}, account string, received uint64) {
	t.Helper()
	var list []tenancy.Traffic
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var err error
		if list, err = from.Traffic(t.Context()); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(list, func(got tenancy.Traffic) bool {
			m, ok := got.Accounts[account]
			return ok && m.Received == received
		}) {
			return
		}
	}
	t.Errorf("traffic %v, want %d of %s", list, received, account)
}

func TestOnlyPartnersAccountsAreSet(t *testing.T) {
	s := newLoginServer(t)
	for _, name := range []string{"", "APP", "SYS", "$G", "partner-", "partner-a.b", "partner-*", "acme"} {
		if err := s.SetAccount(t.Context(), tenancy.Account{Name: name}); !errors.Is(err, events.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestRolesNeedNobodyToAnswer(t *testing.T) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", LoginIssuer: public})
	for _, role := range []natsd.Role{natsd.Publisher, natsd.Reader, natsd.Operator, natsd.System, natsd.Partners} {
		connect(t, s, role)
	}
	if _, err := nats.Connect(s.ClientURL(), nats.UserInfo(s.Credentials(natsd.Publisher).User, "wrong")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := natsd.Start(natsd.Config{Dir: t.TempDir(), LoginIssuer: "issuer"}); !errors.Is(err, events.Invalid) {
		t.Errorf("an issuer that is no key: %v", err)
	}
}
