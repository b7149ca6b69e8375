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

// Servers is the state of the servers as they count themselves.
type Servers struct {
	// Answering are the names of those that answer.
	Answering []string

	// Silent are the names of those that count and do not answer.
	Silent []string

	// Behind are the names of those that answer and may store accounts other
	// than they should: they are new, came back, or did not answer a push.
	// Compare puts that right.
	Behind []string
}

// UnansweredError is that servers which count have not answered in time.
type UnansweredError struct {
	Servers []string // names
}

// Error names the servers.
func (e *UnansweredError) Error() string {
	return "no answer from NATS server " + strings.Join(e.Servers, ", ") + "; it gets what differs as soon as it answers again"
}

// Unwrap returns events.Unavailable.
func (e *UnansweredError) Unwrap() error { return events.Unavailable }

// serverInfo is what a server says of itself.
type serverInfo struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// server is what is known of a server that has answered once.
type server struct {
	name   string
	inStep bool      // it stores what it should
	last   time.Time // when it last answered
}

// countedOn is longer than servers count one that was killed.
const countedOn = 10 * time.Minute

// answer is the answer of a server to a request to all of them.
type answer struct {
	server serverInfo // not set by CLAIMS.LOOKUP
	body   []byte
}

// census is which servers answered, and how many should: the highest number of active
// servers that any of them reported.
type census struct {
	answered map[string]string // names by id
	expected int
}

// complete reports whether all servers that count have answered.
func (c census) complete() bool { return c.expected > 0 && len(c.answered) >= c.expected }

// equal reports whether the same servers have answered and as many count.
func (c census) equal(other census) bool {
	return c.expected > 0 && c.expected == other.expected && maps.Equal(c.answered, other.answered)
}

// add adds the answer of a server to pingServers.
func (c *census) add(body []byte) error {
	var r struct {
		Server     serverInfo `json:"server"`
		Statistics struct {
			ActiveServers int `json:"active_servers"`
		} `json:"statsz"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("read a NATS server's answer: %w", err)
	}
	if c.answered == nil {
		c.answered = make(map[string]string)
	}
	c.answered[r.Server.ID] = r.Server.Name
	// One that has just started does not know all others yet.
	c.expected = max(c.expected, r.Statistics.ActiveServers)
	return nil
}

// Servers asks which servers there are.
func (a *Accounts) Servers(ctx context.Context) (Servers, error) {
	c, err := a.census(ctx)
	if err != nil {
		return Servers{}, err
	}
	return a.note(c), nil
}

// note remembers the servers that answered, and returns the state of all. A server
// that did not answer may have missed something from now on.
func (a *Accounts) note(c census) Servers {
	a.mu.Lock()
	defer a.mu.Unlock()
	var s Servers
	now := a.cfg.Clock()
	names := make(map[string]bool)
	for id, name := range c.answered {
		if a.servers[id] == nil {
			a.servers[id] = &server{name: name}
		}
		a.servers[id].last = now
		names[name] = true
		s.Answering = append(s.Answering, name)
		if !a.servers[id].inStep {
			s.Behind = append(s.Behind, name)
		}
	}
	unknown := c.expected - len(c.answered)
	for id, known := range a.servers {
		if _, ok := c.answered[id]; ok {
			continue
		}
		known.inStep = false
		switch {
		case names[known.name]: // it was killed and has started again, and may count under its former id for some minutes
			unknown--
			if now.Sub(known.last) > countedOn {
				delete(a.servers, id)
			}
		case c.complete():
			delete(a.servers, id) // it has said that it ends
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

// census asks which servers there are. It returns when as many have answered as
// count, or when no more answers come in time.
func (a *Accounts) census(ctx context.Context) (c census, err error) {
	r, err := a.connection()
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	to, replies, done := r.expect()
	defer done()
	if err := r.nc.PublishRequest(pingServers, to+".count", nil); err != nil {
		return c, fmt.Errorf("ask the NATS servers: %w", err)
	}
	for !c.complete() && err == nil {
		select {
		case <-ctx.Done():
			if len(c.answered) == 0 || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return c, noAnswer(ctx)
			}
			a.setIncomplete(c)
			return c, nil
		case msg := <-replies:
			err = c.add(msg.Data)
		}
	}
	a.setIncomplete(census{})
	return c, err
}

// askAll sends a request to all servers, and asks at the same time how many count.
// It returns when as many have answered, or when no more answers come in time. It
// does not wait for servers that did not answer the last census: one that was
// killed counts for some minutes.
func (a *Accounts) askAll(ctx context.Context, subject string, body []byte) (answers []answer, c census, err error) {
	r, err := a.connection()
	if err != nil {
		return nil, c, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	to, replies, done := r.expect()
	defer done()
	err = errors.Join(r.nc.PublishRequest(subject, to+".answer", body), r.nc.PublishRequest(pingServers, to+".count", nil))
	if err != nil {
		return nil, c, fmt.Errorf("ask the NATS servers: %w", err)
	}
	last := a.lastIncomplete()
	for !c.complete() && !c.equal(last) || len(answers) < len(c.answered) {
		select {
		case <-ctx.Done():
			if len(c.answered) == 0 || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, c, noAnswer(ctx)
			}
			return answers, c, nil
		case msg := <-replies:
			if !strings.HasSuffix(msg.Subject, ".count") {
				answers = append(answers, answerOf(msg.Data))
			} else if err := c.add(msg.Data); err != nil {
				return nil, c, err
			}
		}
	}
	return answers, c, nil
}

func (a *Accounts) lastIncomplete() census {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.incomplete
}

func (a *Accounts) setIncomplete(c census) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.incomplete = c
}

// ask sends a request to all servers and returns when so many have answered, or
// when no more answers come in time.
func (a *Accounts) ask(ctx context.Context, subject string, body []byte, expected int) (answers []answer, err error) {
	r, err := a.connection()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	to, replies, done := r.expect()
	defer done()
	if err := r.nc.PublishRequest(subject, to+".answer", body); err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", err)
	}
	for len(answers) < expected {
		select {
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, noAnswer(ctx)
			}
			return answers, nil
		case msg := <-replies:
			answers = append(answers, answerOf(msg.Data))
		}
	}
	return answers, nil
}

func noAnswer(ctx context.Context) error {
	return &events.Error{Code: events.Unavailable, Message: "no NATS server answers", Err: ctx.Err()}
}

// replies hands out the answers that come to one subscription, so that not each
// request makes a subscription that the servers of a cluster pass on.
type replies struct {
	nc    *nats.Conn
	inbox string

	mu      sync.Mutex
	last    uint64
	waiting map[string]chan *nats.Msg // by request
}

// mostReplies is how many answers wait for their request to look at them: more
// than there are servers.
const mostReplies = 64

func newReplies(nc *nats.Conn) (*replies, error) {
	r := &replies{nc: nc, inbox: nc.NewInbox(), waiting: make(map[string]chan *nats.Msg)}
	_, err := nc.Subscribe(r.inbox+".*.*", func(msg *nats.Msg) {
		request, _, _ := strings.Cut(strings.TrimPrefix(msg.Subject, r.inbox+"."), ".")
		r.mu.Lock()
		defer r.mu.Unlock()
		if to := r.waiting[request]; to != nil && msg.Header.Get("Status") == "" { // the status that nobody listens is no answer
			select {
			case to <- msg:
			default:
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", err)
	}
	return r, nil
}

// expect returns the subject below which a request wants its answers, the answers
// that come, and what ends that.
func (r *replies) expect() (to string, answers <-chan *nats.Msg, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	request, channel := strconv.FormatUint(r.last, 10), make(chan *nats.Msg, mostReplies)
	r.waiting[request] = channel
	return r.inbox + "." + request, channel, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, request)
	}
}

// answerOf finds out who answers, where the answer has it.
func answerOf(body []byte) answer {
	var r struct {
		Server serverInfo `json:"server"`
	}
	_ = json.Unmarshal(body, &r) // the answer to a look-up is an account or empty
	return answer{r.Server, body}
}
