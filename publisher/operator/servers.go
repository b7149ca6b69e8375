package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
)

// Subjects of requests to servers.
const (
	pingServers     = "$SYS.REQ.SERVER.PING.STATSZ"
	listConnections = "$SYS.REQ.SERVER.%s.CONNZ"
	pingTraffic     = "$SYS.REQ.ACCOUNT.PING.STATZ"
	kick            = "$SYS.REQ.SERVER.%s.KICK"
	pushAccount     = "$SYS.REQ.CLAIMS.UPDATE"
	lookUpAccount   = "$SYS.REQ.ACCOUNT.%s.CLAIMS.LOOKUP"
)

// Servers is the state of the servers. A server is active if it runs, and for some
// minutes after it was killed: each server reports how many are active.
type Servers struct {
	// Answering are the names of the servers that answer.
	Answering []string

	// Silent are the names of active servers that do not answer.
	Silent []string

	// Behind are the names of servers that answer and may store accounts other
	// than they should: they are new, came back, or did not answer a push.
	// Compare corrects what they store.
	Behind []string
}

// UnansweredError is that active servers have not answered in time.
type UnansweredError struct {
	Servers []string // names
}

// Error names the servers.
func (e *UnansweredError) Error() string {
	return "no answer from NATS server " + strings.Join(e.Servers, ", ") + "; it gets what differs as soon as it answers again"
}

// Unwrap returns events.Unavailable.
func (e *UnansweredError) Unwrap() error { return events.Unavailable }

// serverInfo is how a server names itself in an answer.
type serverInfo struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// server is what is known of a server that has answered once.
type server struct {
	name     string
	upToDate bool      // it stores what it should
	first    time.Time // when it first answered
	last     time.Time // when it last answered
}

// forgetAfter is how long the former id of a server is remembered. It is longer than
// a killed server stays active.
const forgetAfter = 10 * time.Minute

// settledAfter is how long a server must have answered until all servers are taken to know
// of it. Before, they may report as many active servers as have answered although they count
// its former id in its place.
const settledAfter = 30 * time.Second

// answer is the answer of a server to a request to all of them.
type answer struct {
	kind   string     // of the request
	server serverInfo // not set by CLAIMS.LOOKUP
	body   []byte
}

// readServer sets the server if the answer names it.
func (a *answer) readServer() {
	var r struct {
		Server serverInfo `json:"server"`
	}
	_ = json.Unmarshal(a.body, &r) // fails for an answer to lookUpAccount, which is a JWT or empty
	a.server = r.Server
}

// responders are the servers that answered a request, and how many should: the highest
// number of active servers that any of them reported.
type responders struct {
	answered map[string]string // names by id
	expected int
}

// complete reports whether all active servers have answered.
func (resp responders) complete() bool {
	return resp.expected > 0 && len(resp.answered) >= resp.expected
}

// missing reports whether a server has not answered.
func (resp *responders) missing(id string) bool {
	_, ok := resp.answered[id]
	return !ok
}

// equal reports whether the same servers have answered and as many are active.
func (resp responders) equal(other responders) bool {
	return resp.expected > 0 && resp.expected == other.expected && maps.Equal(resp.answered, other.answered)
}

// add adds the answer of a server to pingServers.
func (resp *responders) add(body []byte) error {
	var r struct {
		Server     serverInfo `json:"server"`
		Statistics struct {
			ActiveServers int `json:"active_servers"`
		} `json:"statsz"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("read a NATS server's answer: %w", err)
	}
	if resp.answered == nil {
		resp.answered = make(map[string]string)
	}
	resp.answered[r.Server.ID] = r.Server.Name
	// The highest number: a server that has just started does not know all others yet.
	resp.expected = max(resp.expected, r.Statistics.ActiveServers)
	return nil
}

// Servers asks which servers there are, and remembers which answered. If none answers, it
// returns an error, and the servers that have answered before as Silent.
func (a *Accounts) Servers(ctx context.Context) (Servers, error) {
	resp, err := a.ping(ctx)
	if err != nil {
		return Servers{Silent: a.known()}, err
	}
	return a.remember(resp), nil
}

// known returns the names of the servers that have answered before.
func (a *Accounts) known() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.servers {
		names = append(names, s.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// remember stores which servers answered, and returns the state of all. From now on a
// server that did not answer may have missed a push, so it is no longer up to date.
func (a *Accounts) remember(resp responders) Servers {
	a.mu.Lock()
	defer a.mu.Unlock()
	var s Servers
	now := a.cfg.Clock()
	names := make(map[string]time.Time) // of those that answered, and since when under this id
	for id, name := range resp.answered {
		if a.servers[id] == nil {
			a.servers[id] = &server{name: name, first: now}
		}
		a.servers[id].last = now
		names[name] = a.servers[id].first
		s.Answering = append(s.Answering, name)
		if !a.servers[id].upToDate {
			s.Behind = append(s.Behind, name)
		}
	}
	unknown := resp.expected - len(resp.answered)
	for id, known := range a.servers {
		if _, ok := resp.answered[id]; ok {
			continue
		}
		known.upToDate = false
		since, again := names[known.name]
		switch {
		case again && (!resp.complete() || now.Sub(since) < settledAfter):
			unknown-- // it was killed and started again: its former id may be active for some minutes
			if now.Sub(known.last) > forgetAfter {
				delete(a.servers, id)
			}
		case resp.complete():
			delete(a.servers, id) // no longer active: it has told the others that it ends
		default:
			s.Silent = append(s.Silent, known.name)
			unknown--
		}
	}
	if unknown > 0 {
		s.Silent = append(s.Silent, fmt.Sprintf("(%d of unknown name)", unknown))
	}
	for _, names := range [][]string{s.Answering, s.Silent, s.Behind} {
		slices.Sort(names)
	}
	return s
}

// ping asks which servers there are. It returns when all active ones have answered, or
// as await does if at least one has. It stores for askAll whether servers were missing.
func (a *Accounts) ping(ctx context.Context) (resp responders, err error) {
	r, err := a.connection()
	if err != nil {
		return resp, err
	}
	replyTo, replies, done := r.expect(1)
	defer done()
	if err := r.nc.PublishRequest(pingServers, replyTo+".servers", nil); err != nil {
		return resp, fmt.Errorf("ask the NATS servers: %w", err)
	}
	all, err := a.await(ctx, r, replies, resp.missing, func(answer answer) (bool, error) {
		err := resp.add(answer.body)
		return resp.complete(), err
	})
	if err != nil {
		return resp, err
	}
	if len(resp.answered) == 0 {
		return resp, noAnswer(context.DeadlineExceeded)
	}
	if all {
		a.setIncomplete(responders{})
	} else {
		a.setIncomplete(resp)
	}
	return resp, nil
}

// askAll sends a request to all servers, and pings them at the same time to learn how
// many are active. It returns when all have answered both, or as await does if at
// least one has answered the ping. It does not wait for servers that did not answer the
// last call of ping either, because a killed one stays active for some minutes.
func (a *Accounts) askAll(ctx context.Context, subject string, body []byte) (answers []answer, resp responders, err error) {
	r, err := a.connection()
	if err != nil {
		return nil, resp, err
	}
	replyTo, replies, done := r.expect(2)
	defer done()
	err = errors.Join(r.nc.PublishRequest(subject, replyTo+".answer", body), r.nc.PublishRequest(pingServers, replyTo+".servers", nil))
	if err != nil {
		return nil, resp, fmt.Errorf("ask the NATS servers: %w", err)
	}
	last := a.lastIncomplete()
	missing := func(id string) bool {
		return resp.missing(id) || !slices.ContainsFunc(answers, func(answer answer) bool { return answer.server.ID == id })
	}
	_, err = a.await(ctx, r, replies, missing, func(answer answer) (bool, error) {
		if answer.kind != "servers" {
			answers = append(answers, answer)
		} else if err := resp.add(answer.body); err != nil {
			return false, err
		}
		return (resp.complete() || resp.equal(last)) && len(answers) >= len(resp.answered), nil
	})
	if err != nil {
		return nil, resp, err
	}
	if len(resp.answered) == 0 {
		return nil, resp, noAnswer(context.DeadlineExceeded)
	}
	return answers, resp, nil
}

// mostWaits is how many times Config.Timeout a request waits at most for a server that
// answers other requests.
const mostWaits = 10

// await passes the answers to a request to take, until take reports that they are all, and
// returns true then. It returns false if the servers whose answers are missing have answered
// nothing for Config.Timeout, not even other requests: a server that is busy with many
// requests answers this one after them. It waits at most half of the time that is left to
// ctx: so a server that does not answer leaves the caller time to act on what the others
// answered.
func (a *Accounts) await(
	ctx context.Context, r *replies, answers <-chan answer, missing func(id string) bool, take func(answer) (all bool, err error),
) (all bool, err error) {
	quiet, longest := a.cfg.Timeout, mostWaits*a.cfg.Timeout
	if end, ok := ctx.Deadline(); ok {
		half := time.Until(end) / 2
		quiet, longest = min(quiet, half), min(longest, half)
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for !all && err == nil {
		select {
		case answer := <-answers:
			all, err = take(answer)
			continue
		case <-ctx.Done():
		case <-timer.C:
		}
		select {
		case answer := <-answers: // it came in time, and this process has not run since
			all, err = take(answer)
			timer.Reset(0)
			continue
		default:
		}
		if ctx.Err() != nil {
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = noAnswer(ctx.Err())
			}
			return false, err
		}
		rest := quiet - time.Since(r.lastOf(missing))
		if rest <= 0 {
			return false, nil
		}
		timer.Reset(rest)
	}
	return all, err
}

// withTimeout returns a context that ends after Config.Timeout, at the latest after half of
// the time that is left to ctx.
func (a *Accounts) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	wait := a.cfg.Timeout
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/2)
	}
	return context.WithTimeout(ctx, wait)
}

// lastIncomplete returns the responders of the last ping; none if they were complete.
func (a *Accounts) lastIncomplete() responders {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.incomplete
}

// setIncomplete stores the responders of the last ping, or none if they were complete.
func (a *Accounts) setIncomplete(resp responders) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.incomplete = resp
}

// noAnswer returns the error of a request that ended without the answers it needs.
func noAnswer(cause error) error {
	return &events.Error{Code: events.Unavailable, Message: "no NATS server answers", Err: cause}
}

// replies receives the answers to all requests by one subscription, and passes each on
// to the request that waits for it. So not every request makes a subscription, which
// the servers of a cluster would announce to each other.
type replies struct {
	nc    *nats.Conn
	inbox string

	mu      sync.Mutex
	number  uint64                 // of the last request
	waiting map[string]chan answer // by number of the request
	last    map[string]time.Time   // by id of a server: when it last answered a request and named itself
}

// mostReplies is how many answers to one request can wait until they are read. It is
// more than servers send; a further one is dropped.
const mostReplies = 64

// newReplies subscribes to the answers to requests that will be sent by nc.
func newReplies(nc *nats.Conn) (*replies, error) {
	r := &replies{nc: nc, inbox: nc.NewInbox(), waiting: make(map[string]chan answer), last: make(map[string]time.Time)}
	_, err := nc.Subscribe(r.inbox+".*.*", func(msg *nats.Msg) {
		if msg.Header.Get("Status") != "" { // a status (no responders) is no answer
			return
		}
		request, kind, _ := strings.Cut(strings.TrimPrefix(msg.Subject, r.inbox+"."), ".")
		answer := answer{kind: kind, body: msg.Data}
		answer.readServer()
		r.mu.Lock()
		defer r.mu.Unlock()
		if answer.server.ID != "" {
			r.last[answer.server.ID] = time.Now() // an answer that is late is a sign of life, too
		}
		if answers := r.waiting[request]; answers != nil {
			select {
			case answers <- answer:
			default: // full: the subscription must not block
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", err)
	}
	return r, nil
}

// expect prepares for the answers to a number of requests. Each of them names
// {replyTo}.{kind} as its reply subject, with a kind of its own. The answers arrive on the
// channel until done is called.
func (r *replies) expect(requests int) (replyTo string, answers <-chan answer, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	number, channel := strconv.FormatUint(r.number, 10), make(chan answer, requests*mostReplies)
	r.waiting[number] = channel
	return r.inbox + "." + number, channel, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, number)
	}
}

// lastOf returns when one of the servers that are missing last answered any request.
func (r *replies) lastOf(missing func(id string) bool) (last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, at := range r.last {
		if at.After(last) && missing(id) {
			last = at
		}
	}
	return last
}
