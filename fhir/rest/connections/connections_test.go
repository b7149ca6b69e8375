package connections_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/seed-e88a4ece/signoff/events/leaktest"
	"github.com/seed-e88a4ece/signoff/fhir/rest/connections"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// listener is a Listener whose connections the test serves itself.
type listener struct {
	*connections.Listener
	t      *testing.T
	server http.Server // has the hooks
	now    time.Time
	handle func(*http.Request) // handles requests; nil for nothing
}

func listen(t *testing.T, cfg connections.Config) *listener {
	t.Helper()
	var config net.ListenConfig
	raw, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, now: time.Now()}
	cfg.Clock = func() time.Time { return l.now }
	l.Listener = connections.Limit(raw, cfg)
	l.server.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if l.handle != nil {
			l.handle(r)
		}
	})
	l.Observe(&l.server, func(c net.Conn) net.Conn { return c })
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// pair is both ends of a connection.
type pair struct{ client, server net.Conn }

// connect opens a connection and accepts it.
func (l *listener) connect() pair {
	l.t.Helper()
	var dialer net.Dialer
	client, err := dialer.DialContext(l.t.Context(), "tcp", l.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return pair{client, server}
}

// idle has the connection wait for its next request.
func (l *listener) idle(p pair) { l.server.ConnState(p.server, http.StateIdle) }

// answering has the connection answer a request.
func (l *listener) answering(p pair) {
	r := (&http.Request{}).WithContext(l.server.ConnContext(l.t.Context(), p.server))
	l.server.Handler.ServeHTTP(discard{}, r)
}

// discard is a ResponseWriter for an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// open reports whether the server has not closed the connection.
func (p pair) open(t *testing.T) bool {
	t.Helper()
	if _, err := p.server.Write([]byte("x")); err != nil {
		return false
	}
	if err := p.client.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err := io.ReadFull(p.client, make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

func TestTheConnectionThatIsIdleForLongestGivesWay(t *testing.T) {
	l := listen(t, connections.Config{Max: 4})
	answering, reading, short, long := l.connect(), l.connect(), l.connect(), l.connect()
	l.answering(answering)
	l.idle(long)
	l.now = l.now.Add(time.Second)
	l.idle(short)
	for _, c := range []struct {
		name string
		pair pair
	}{{"idle for a second", long}, {"idle for a moment", short}, {"without a request", reading}} {
		for _, next := range []pair{answering, c.pair} {
			if !next.open(t) {
				t.Fatalf("a connection is closed before its turn, before the one %s", c.name)
			}
		}
		l.answering(l.connect())
		if c.pair.open(t) {
			t.Errorf("the connection %s is not closed for a new one", c.name)
		}
	}
}

func TestAnAddressWithManyConnectionsGivesWayFirst(t *testing.T) {
	l := listen(t, connections.Config{Max: 3})
	var dialer net.Dialer
	dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	client, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Skipf("127.0.0.2 is not an address of this machine: %v", err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	single := pair{client, server}
	l.idle(single) // it is idle longer than the others
	l.now = l.now.Add(time.Second)
	first, second := l.connect(), l.connect()
	l.idle(first)
	l.connect()
	if !single.open(t) || first.open(t) || !second.open(t) {
		t.Error("not an idle connection of the address with two was closed")
	}
}

// A proxy has a connection for each of its clients, and each counts like one of a client
// that connects directly.
func TestAProxyDoesNotGiveWayFirst(t *testing.T) {
	proxy := netip.MustParseAddr("127.0.0.1")
	l := listen(t, connections.Config{Max: 3, Shared: func(a netip.Addr) bool { return a == proxy }})
	var dialer net.Dialer
	dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	client, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Skipf("127.0.0.2 is not an address of this machine: %v", err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	direct := pair{client, server}
	l.idle(direct)
	l.now = l.now.Add(time.Second)
	first, second := l.connect(), l.connect()
	l.idle(first)
	l.connect() // a third one of the proxy
	if direct.open(t) || !first.open(t) || !second.open(t) {
		t.Error("not the connection that is idle for longest was closed")
	}
}

func TestConnectionsEndSoonerWhileManyAreOpen(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(*listener, pair)
		limit time.Duration
	}{
		{"idle", (*listener).idle, 10 * time.Second},
		{"without a request", func(*listener, pair) {}, 2 * time.Second},
		{"answered slowly", (*listener).answering, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listen(t, connections.Config{Max: 8})
			first := l.connect()
			c.set(l, first)
			for range 5 {
				l.connect()
			}
			l.now = l.now.Add(time.Hour)
			few := l.connect() // six are open: not more than three quarters
			c.set(l, few)
			if !first.open(t) {
				t.Fatal("a connection is closed although few are open")
			}
			l.now = l.now.Add(c.limit)
			l.connect()
			if first.open(t) || !few.open(t) {
				t.Error("not the connection that waits too long is closed")
			}
			l.now = l.now.Add(time.Nanosecond)
			for range 6 {
				l.connect()
			}
			if few.open(t) {
				t.Error("a connection that waits too long is open")
			}
		})
	}
}

func TestAcceptEndsWithTheListener(t *testing.T) {
	l := listen(t, connections.Config{Max: 1})
	l.answering(l.connect())
	var dialer net.Dialer
	client, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	done := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returns %v", err)
	}
}

func TestAPlaceIsFreeWhenAConnectionIsClosed(t *testing.T) {
	l := listen(t, connections.Config{Max: 1})
	for range 3 {
		p := l.connect()
		l.answering(p)
		if err := errors.Join(p.server.Close(), p.client.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// Over HTTP/2 a connection has several requests. One that has arrived whole protects it only
// as long as it is being answered.
func TestAConnectionWaitsForABodyAfterItsOtherRequests(t *testing.T) {
	l := listen(t, connections.Config{Max: 2})
	other := l.connect()
	l.answering(other)
	p := l.connect()
	began, finish, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	l.handle = func(r *http.Request) {
		began <- struct{}{}
		if r.Body == nil {
			<-finish
			return
		}
		_, _ = io.ReadAll(r.Body)
	}
	ctx := l.server.ConnContext(t.Context(), p.server)
	body, sender := io.Pipe()
	for _, r := range []*http.Request{{}, {Body: body}} {
		go func() {
			l.server.Handler.ServeHTTP(discard{}, r.WithContext(ctx))
			done <- struct{}{}
		}()
		<-began
	}
	l.now = l.now.Add(time.Second)
	if !p.open(t) {
		t.Fatal("the connection is closed")
	}
	finish <- struct{}{}
	<-done
	l.handle = nil
	l.answering(l.connect())
	if p.open(t) {
		t.Error("a connection that waits for a body is not closed for a new one")
	}
	if !other.open(t) {
		t.Error("a connection whose request is answered is closed")
	}
	_ = sender.Close()
	<-done
}
