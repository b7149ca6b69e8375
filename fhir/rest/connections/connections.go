// Package connections bounds the connections of an HTTP server, so that no client exhausts
// the file descriptors of the process. While most of them are in use, connections that are
// idle, or slow, are closed earlier than the server's time limits require. When all are in
// use, a new connection replaces one of these. So whoever opens connections and sends
// nothing, or little, does not keep others out. A request has arrived when its body has:
// whoever sends a body byte by byte does not keep others out either. The package reads and
// writes nothing on a connection.
package connections

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Config has the limits of a Listener.
type Config struct {
	Max        int // connections at a time. Required
	PerAddress int // connections from one address; behind a proxy all have the same. Defaults to no limit

	// Shared reports whether connections from an address are of many clients, as those of a
	// proxy are. They are not counted together. Defaults to none.
	Shared func(netip.Addr) bool

	// These times apply while more than three quarters of Max are open. A connection is
	// closed when it waits for longer for the next request, for the whole of its first one, or
	// for the end of an answer.
	Idle    time.Duration // Defaults to 10 s
	Request time.Duration // Defaults to 2 s
	Answer  time.Duration // Defaults to 20 s

	Clock func() time.Time // Defaults to time.Now
}

// Listener accepts a bounded number of connections. Observe must be called before an
// http.Server serves them.
type Listener struct {
	net.Listener

	cfg     Config
	closing chan struct{}
	close   sync.Once
	freed   chan struct{} // has an element after a connection was closed
	metrics metrics

	mu        sync.Mutex
	open      map[*conn]struct{}
	addresses map[netip.Addr]int // connections by address
}

// conn is an open connection. State and since are guarded by Listener.mu.
type conn struct {
	net.Conn

	listener *Listener
	address  netip.Addr
	shared   bool // whether many clients have the address
	state    state
	since    time.Time // when it got the state, or the request that is answered for longest began to be

	// Requests that are being handled; HTTP/2 has many at a time on a connection.
	requests []*request
}

// state is what a connection does.
type state int

const (
	idle      state = iota // waits for its next request
	reading                // no request is complete, with its body; a new connection too
	answering              // a request that is complete is being answered
)

// Limit returns a Listener that accepts the connections of l. Close closes l.
func Limit(l net.Listener, cfg Config) *Listener {
	cfg.Idle = cmp.Or(cfg.Idle, 10*time.Second)
	cfg.Request = cmp.Or(cfg.Request, 2*time.Second)
	cfg.Answer = cmp.Or(cfg.Answer, 20*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Shared == nil {
		cfg.Shared = func(netip.Addr) bool { return false }
	}
	limited := &Listener{
		Listener: l, cfg: cfg, closing: make(chan struct{}), freed: make(chan struct{}, 1),
		open: make(map[*conn]struct{}), addresses: make(map[netip.Addr]int),
	}
	limited.metrics = newMetrics(limited)
	return limited
}

// Close closes the listener, and ends a call of Accept that waits. Connections stay open.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closing) })
	return l.Listener.Close()
}

// Accept returns the next connection. When Max are open it first closes one that waits for
// a request or for the end of an answer. If there is none, it waits until one is closed, or
// is slow enough.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, listener: l, address: addressOf(raw), state: reading, since: l.cfg.Clock()}
		c.shared = l.cfg.Shared(c.address)
		switch added, allowed := l.add(c); {
		case added:
			return c, nil
		case !allowed:
			_ = raw.Close()
			continue
		}
		if err := l.wait(c); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return c, nil
	}
}

// retry is how long wait waits before it looks for a slow connection again.
const retry = 100 * time.Millisecond

// wait adds the connection as soon as another one is closed.
func (l *Listener) wait(c *conn) error {
	timer := time.NewTicker(retry)
	defer timer.Stop()
	for {
		select {
		case <-l.freed:
		case <-timer.C:
		case <-l.closing:
			return net.ErrClosed
		}
		if added, _ := l.add(c); added {
			return nil
		}
	}
}

// addressOf returns the address of a connection's client, without the port.
func addressOf(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// add adds a connection, and closes others if many are open. Added is false if too many
// are open, and allowed is false if too many are from its address.
func (l *Listener) add(c *conn) (added, allowed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.PerAddress > 0 && !c.shared && l.addresses[c.address] >= l.cfg.PerAddress {
		l.metrics.closed.WithLabelValues(causeAddress).Inc()
		return false, false
	}
	if len(l.open) > l.cfg.Max*3/4 {
		l.closeOverdue()
	}
	if len(l.open) >= l.cfg.Max && !l.closeOne() {
		return false, true
	}
	c.since = l.cfg.Clock()
	l.open[c] = struct{}{}
	l.addresses[c.address]++
	return true, true
}

// closeOverdue closes the connections that have waited longer than they may while many are
// open. The listener must be locked.
func (l *Listener) closeOverdue() {
	now := l.cfg.Clock()
	for c := range l.open {
		if cause, limit := l.cfg.limit(c.state); now.Sub(c.since) > limit {
			l.drop(c, cause)
		}
	}
}

// limit returns how long a connection may have a state while many are open, and the cause
// with which it is closed then.
func (cfg Config) limit(s state) (cause string, limit time.Duration) {
	switch s {
	case idle:
		return causeIdle, cfg.Idle
	case reading:
		return causeRequest, cfg.Request
	default:
		return causeAnswer, cfg.Answer
	}
}

// closeOne closes the connection that others can best do without, and reports whether there
// is one: of the address with most connections an idle one, otherwise one that has not sent
// a whole request yet, and of these the one that has waited longest. So a client that sends
// its request at once is answered even while many others connect. A connection whose request
// is being answered stays, unless it is overdue. The listener must be locked.
func (l *Listener) closeOne() bool {
	var worst *conn
	for c := range l.open {
		if c.state != answering && (worst == nil || l.before(c, worst)) {
			worst = c
		}
	}
	if worst == nil {
		return false
	}
	cause, _ := l.cfg.limit(worst.state)
	l.drop(worst, cause)
	return true
}

// before reports whether closeOne prefers connection a to b.
func (l *Listener) before(a, b *conn) bool {
	if n, m := l.ofAddress(a), l.ofAddress(b); n != m {
		return n > m
	}
	if a.state != b.state {
		return a.state == idle
	}
	return a.since.Before(b.since)
}

// ofAddress returns how many connections the client of a connection has: those from its
// address, or the one alone if the address is shared. The listener must be locked.
func (l *Listener) ofAddress(c *conn) int {
	if c.shared {
		return 1
	}
	return l.addresses[c.address]
}

// drop closes a connection that others need. The listener must be locked.
func (l *Listener) drop(c *conn, cause string) {
	l.metrics.closed.WithLabelValues(cause).Inc()
	l.remove(c)
	_ = c.Conn.Close()
}

// remove makes a connection count no longer. The listener must be locked.
func (l *Listener) remove(c *conn) {
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.addresses[c.address]--; l.addresses[c.address] == 0 {
		delete(l.addresses, c.address)
	}
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// Observe has a server that will serve the connections report what they do. Accepted
// returns the connection that Accept has returned, from one that the server knows.
func (l *Listener) Observe(s *http.Server, accepted func(net.Conn) net.Conn) {
	type key struct{}
	handler := s.Handler
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, key{}, accepted(c))
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(key{}).(*conn); ok {
			q := l.begin(c, r.Body == nil || r.Body == http.NoBody)
			defer l.end(c, q)
			if !q.arrived {
				r = r.WithContext(r.Context()) // the body of the server's own request must stay
				r.Body = &body{r.Body, l, c, q}
			}
		}
		handler.ServeHTTP(w, r)
	})
	s.ConnState = func(known net.Conn, s http.ConnState) {
		c, ok := accepted(known).(*conn)
		switch {
		case !ok:
		case s == http.StateIdle:
			l.set(c, idle)
		case s == http.StateActive: // the first byte of a request has arrived
			l.set(c, reading)
		}
	}
}

// request is a request that is being handled. Its fields are guarded by Listener.mu.
type request struct {
	arrived bool      // with its body
	since   time.Time // when it arrived, or before that, when its handler was called
}

// body is the body of a request that is being handled. It finds out when that has arrived.
type body struct {
	io.ReadCloser

	listener *Listener
	conn     *conn
	request  *request
}

// Read reads from the body.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.listener.arrive(b.conn, b.request)
	}
	return n, err
}

// begin adds a request of the connection that is handled from now on.
func (l *Listener) begin(c *conn, arrived bool) *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &request{arrived, l.cfg.Clock()}
	c.requests = append(c.requests, q)
	l.update(c)
	return q
}

// arrive is called when the body of a request has arrived, possibly again.
func (l *Listener) arrive(c *conn, q *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !q.arrived {
		q.arrived, q.since = true, l.cfg.Clock()
		l.update(c)
	}
}

// end removes a request that was handled.
func (l *Listener) end(c *conn, q *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.requests = slices.DeleteFunc(c.requests, func(other *request) bool { return other == q })
	l.update(c)
}

// update sets the state of a connection after its requests have changed. It is answering
// since the request that is answered for longest has arrived, so that quick requests do not
// hide a slow one. If only requests remain whose bodies have not arrived, it waits for these.
// Without requests it keeps its state until http.Server says that it is idle. The listener
// must be locked.
func (l *Listener) update(c *conn) {
	var answered, awaited *request // for longest
	for _, q := range c.requests {
		longest := &awaited
		if q.arrived {
			longest = &answered
		}
		if *longest == nil || q.since.Before((*longest).since) {
			*longest = q
		}
	}
	switch {
	case answered != nil:
		c.state, c.since = answering, answered.since
	case awaited != nil && c.state == answering:
		c.state, c.since = reading, awaited.since
	}
}

// set sets the state of a connection. The first byte of the first request does not give
// its client more time.
func (l *Listener) set(c *conn, s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == reading && c.state == reading {
		return
	}
	c.state, c.since = s, l.cfg.Clock()
}

// count returns how many connections are open.
func (l *Listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// Close closes the connection.
func (c *conn) Close() error {
	err := c.Conn.Close() // before another one may be accepted in its place
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.remove(c)
	return err
}

// CloseWrite is called by net/http before it closes a connection on which the client may
// still be sending.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
