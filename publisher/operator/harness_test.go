package operator_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/brokertest"
	"github.com/seed-e88a4ece/signoff/publisher/natsd"
	"github.com/seed-e88a4ece/signoff/publisher/operator"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

const timeout = time.Minute // of what must happen

func TestMain(m *testing.M) {
	brokertest.Main()
	brokertest.VerifyTestMain(m)
}

// installation is one server or three, as nats-config has them started, and what
// runs on them.
type installation struct {
	t       testing.TB
	keys    *operator.Keys
	roles   operator.RoleKeys
	preload *operator.Preload
	nodes   []*node
	routes  []string // addresses of the first servers for each other
	clock   func() time.Time
	plain   bool // users and passwords in place of keys
}

// node is a server: in the test's process, or in one of its own.
type node struct {
	name, url, file, accounts string
	embedded                  *server.Server
	process                   *exec.Cmd
}

// newInstallation starts one server or three.
func newInstallation(t testing.TB, size int, processes bool) *installation {
	t.Helper()
	dir := t.TempDir()
	of := brokertest.NewOperation(t, dir)
	in := &installation{t: t, keys: of.Keys, roles: of.Roles, preload: of.Preload}
	in.addNodes(dir, size, processes)
	return in
}

// addNodes starts servers whose files include dir/operator.conf, and waits for them.
func (in *installation) addNodes(dir string, size int, processes bool) {
	in.t.Helper()
	addresses := brokertest.FreeAddresses(in.t, 2*size)
	if size > 1 {
		in.routes = addresses[size:]
	}
	for i := range size {
		route := ""
		if size > 1 {
			route = in.routes[i]
		}
		n := in.newNode(dir, fmt.Sprint("n", i+1), addresses[i], route)
		in.nodes = append(in.nodes, n)
		in.start(n, processes)
	}
	in.ready()
}

// newNode writes the file of a server, which is not started. Route is its address for the
// other servers, empty if it is the only one.
func (in *installation) newNode(dir, name, listen, route string) *node {
	in.t.Helper()
	n := &node{name: name, url: "nats://" + listen, file: filepath.Join(dir, name+".conf"), accounts: filepath.Join(dir, name, "jwt")}
	of := natsd.Node{Name: name, Listen: listen, StoreDir: filepath.Join(dir, name), Accounts: n.accounts, Include: "operator.conf"}
	if route != "" {
		of.Cluster = &natsd.Cluster{Name: "signoff", Listen: route, Routes: in.routes, User: "route", Password: "between servers"}
	}
	text := of.Text()
	if in.plain {
		text = strings.Replace(text, operator.Resolver(of.Accounts), "", 1)
	}
	brokertest.Write(in.t, n.file, text)
	in.t.Cleanup(func() { in.kill(n) })
	return n
}

// in returns the installation for a subtest, which fails by itself.
func (in *installation) in(t testing.TB) *installation {
	own := *in
	own.t = t
	return &own
}

func eachSize(t *testing.T, test func(t *testing.T, in *installation)) {
	for _, size := range []int{1, 3} {
		t.Run(fmt.Sprint(size, " servers"), func(t *testing.T) {
			t.Parallel()
			test(t, newInstallation(t, size, false))
		})
	}
}

// start starts a server on the files that it has.
func (in *installation) start(n *node, process bool) {
	in.t.Helper()
	if process {
		n.process = brokertest.StartProcess(in.t, n.file)
	} else {
		n.embedded = brokertest.StartNode(in.t, n.file)
	}
}

// kill ends a server: a process as signal 9 does.
func (in *installation) kill(n *node) {
	switch {
	case n.process != nil:
		_ = n.process.Process.Kill() // it may have ended
		_ = n.process.Wait()
		n.process = nil
	case n.embedded != nil:
		n.embedded.Shutdown()
		n.embedded.WaitForShutdown()
		n.embedded = nil
	}
}

// ready waits until all servers know each other and JetStream answers.
func (in *installation) ready() {
	in.t.Helper()
	a := in.accountsOf(nil)
	in.until("all servers answer", func() error {
		s, err := a.Servers(in.t.Context())
		if err == nil && len(s.Answering) != len(in.nodes) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	a.Close()
	js := in.jetstream(operator.Publisher)
	in.until("JetStream answers", func() error {
		_, err := js.AccountInfo(in.t.Context())
		return err
	})
}

func (in *installation) urls() string {
	var all []string
	for _, n := range in.nodes {
		all = append(all, n.url)
	}
	return strings.Join(all, ",")
}

// connect opens a connection as a role.
func (in *installation) connect(role operator.Role) (*nats.Conn, error) {
	login := nats.UserInfo(string(role), "pw-"+string(role))
	if !in.plain {
		var err error
		if login, err = in.keys.Login(in.roles, role); err != nil {
			return nil, err
		}
	}
	return nats.Connect(in.urls(), login, nats.Timeout(timeout), nats.DontRandomize(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.IgnoreAuthErrorAbort(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

func (in *installation) mustConnect(role operator.Role) *nats.Conn {
	in.t.Helper()
	nc, err := in.connect(role)
	if err != nil {
		in.t.Fatalf("%s: %v", role, err)
	}
	in.t.Cleanup(nc.Close)
	return nc
}

func (in *installation) jetstream(role operator.Role) jetstream.JetStream {
	in.t.Helper()
	js, err := jetstream.New(in.mustConnect(role))
	if err != nil {
		in.t.Fatal(err)
	}
	return js
}

// accounts keeps the accounts on the servers.
func (in *installation) accounts() *operator.Accounts {
	return in.accountsOf(func(c *operator.Config) { c.Timeout = timeout })
}

func (in *installation) accountsOf(change func(*operator.Config)) *operator.Accounts {
	cfg := operator.Config{
		Connect: func() (*nats.Conn, error) { return in.connect(operator.Keeper) },
		Keys:    in.keys, Preload: in.preload, Clock: in.clock, Timeout: 3 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	a := operator.NewAccounts(cfg)
	in.t.Cleanup(a.Close)
	return a
}

var limits = tenancy.Limits{Connections: 4, Subscriptions: 50, Payload: 4096}

func accountOf(partner string, studies ...string) tenancy.Account {
	return tenancy.AccountOf(partner, studies, limits)
}

// stored is the account that a server has on disk.
func (in *installation) stored(n *node, partner string) string {
	in.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.accounts, in.keys.PartnerAccount(partner)+".jwt"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		in.t.Fatal(err)
	}
	return string(text)
}

// imports are the subjects that a server's stored account imports.
func (in *installation) imports(n *node, partner string) (subjects []string) {
	in.t.Helper()
	claims, err := jwt.DecodeAccountClaims(in.stored(n, partner))
	if err != nil {
		in.t.Fatalf("account of %s on %s: %v", partner, n.name, err)
	}
	for _, i := range claims.Imports {
		if i.Type == jwt.Stream {
			subjects = append(subjects, string(i.Subject))
		}
	}
	return subjects
}

// wantImports waits until each server stores an account that opens the studies.
func (in *installation) wantImports(partner string, studies ...string) {
	in.t.Helper()
	want := accountOf(partner, studies...).Streams
	slices.Sort(want)
	for _, n := range in.nodes {
		got := in.imports(n, partner)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			in.t.Errorf("server %s lets %s hear %q, want %q", n.name, partner, got, want)
		}
	}
}

// answerLogins lets a partner in under its id with the password "pw-" + id.
func (in *installation) answerLogins() {
	in.t.Helper()
	nc, answers := in.mustConnect(operator.Callout), in.keys.Answers()
	_, err := nc.Subscribe("$SYS.REQ.USER.AUTH", func(m *nats.Msg) {
		request, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			in.t.Error(err)
			return
		}
		id := request.ConnectOptions.Username
		if request.ConnectOptions.Password != "pw-"+id || !events.ValidPartnerID(id) {
			text, err := answers.Refuse(request, "wrong")
			if err != nil {
				in.t.Error(err)
			}
			_ = m.Respond([]byte(text)) // the connection may be closed
			return
		}
		user := jwt.NewUserClaims(request.UserNkey)
		user.Name = id
		text, err := answers.Admit(request, id, user)
		if err != nil {
			in.t.Error(err)
		}
		_ = m.Respond([]byte(text)) // the connection may be closed
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		in.t.Fatal(err)
	}
}

// login connects a partner to a server.
func (in *installation) login(n *node, id string) (*nats.Conn, error) {
	nc, err := nats.Connect(n.url, nats.UserInfo(id, "pw-"+id), nats.NoReconnect(), nats.Timeout(timeout),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err == nil {
		in.t.Cleanup(nc.Close)
	}
	return nc, err
}

func (in *installation) mustLogin(n *node, id string) *nats.Conn {
	in.t.Helper()
	var nc *nats.Conn
	in.until(id+" logs in at "+n.name, func() (err error) { // a server has to learn first who answers
		nc, err = in.login(n, id)
		return err
	})
	return nc
}

// makeStream makes the stream with a consumer of a partner for each study.
func (in *installation) makeStream(partner string, studies ...string) {
	in.t.Helper()
	js := in.jetstream(operator.Publisher)
	in.until("the stream", func() error {
		_, err := js.CreateOrUpdateStream(in.t.Context(), jetstream.StreamConfig{
			Name: events.Stream, Subjects: []string{events.IngestWildcard}, Replicas: len(in.nodes), MaxConsumers: 5000, AllowDirect: true,
			SubjectTransform: &jetstream.SubjectTransformConfig{Source: events.IngestWildcard, Destination: events.StoredWildcard},
			RePublish:        &jetstream.RePublish{Source: events.StoredWildcard, Destination: events.StoredWildcard},
		})
		return err
	})
	for _, study := range studies {
		in.until("the consumer", func() error {
			_, err := js.CreateConsumer(in.t.Context(), events.Stream, jetstream.ConsumerConfig{
				Durable: events.PartnerConsumer(partner, study), FilterSubject: events.StudySubjects(study), AckPolicy: jetstream.AckExplicitPolicy,
			})
			return err
		})
	}
}

func (in *installation) publish(study string, bodies ...string) {
	in.t.Helper()
	js := in.jetstream(operator.Publisher)
	for _, body := range bodies {
		in.store(js, &nats.Msg{Subject: events.IngestPrefix + events.PartnerPrefix + study + ".DiagnosticReport.signed", Data: []byte(body)})
	}
}

// store publishes a message until it is stored, once.
func (in *installation) store(js jetstream.JetStream, msg *nats.Msg) {
	in.t.Helper()
	id := jetstream.WithMsgID(nats.NewInbox())
	in.until("an event is published", func() error {
		_, err := js.PublishMsg(in.t.Context(), msg, id)
		return err
	})
}

// take pulls the next event of a study and acknowledges it.
func (in *installation) take(nc *nats.Conn, partner, study string) string {
	in.t.Helper()
	js, err := jetstream.NewWithAPIPrefix(nc, events.PartnerAPIPrefix)
	if err != nil {
		in.t.Fatal(err)
	}
	var msg jetstream.Msg
	in.until("an event is pulled", func() error {
		c, err := js.Consumer(in.t.Context(), events.Stream, events.PartnerConsumer(partner, study))
		if err != nil {
			return err
		}
		msg, err = c.Next(jetstream.FetchMaxWait(10 * time.Second))
		return err
	})
	in.until("it is acknowledged", func() error { return msg.DoubleAck(in.t.Context()) })
	return string(msg.Data())
}

// until tries again until there is no error.
func (in *installation) until(what string, try func() error) {
	in.t.Helper()
	until(in.t, what, try)
}

func until(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(2 * timeout) // more than one try may take
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
	}
}
