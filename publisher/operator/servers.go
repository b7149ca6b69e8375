package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-e88a4ece/signoff/events"
)

// Subjects of requests to servers.
const (
	pingServers     = "$SYS.REQ.SERVER.PING.STATSZ"
	pingConnections = "$SYS.REQ.SERVER.PING.CONNZ"
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

// census are the servers that answered and how many count.
type census struct {
	answered map[string]string // names by id
	count    int
}

// complete reports whether all servers that count have answered.
func (c census) complete() bool { return c.count > 0 && len(c.answered) >= c.count }

// equal reports whether the same servers have answered and as many count.
func (c census) equal(other census) bool {
	return c.count == other.count && maps.Equal(c.answered, other.answered)
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
	c.count = max(c.count, r.Statistics.ActiveServers)
	return nil
}

// Servers asks which servers there are.
func (a *Accounts) Servers(ctx context.Context) (Servers, error) {
	_, c, err := a.askAll(ctx, "", nil)
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
	unknown := c.count - len(c.answered)
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

// askAll sends a request to all servers, none if there is no subject, and at the
// same time asks how many count. It returns when as many have answered, or when
// no more answers come in time. A request does not wait for servers that have not
// answered the question alone: one that was killed counts for some minutes.
func (a *Accounts) askAll(ctx context.Context, subject string, body []byte) (answers []answer, c census, err error) {
	nc, err := a.connection()
	if err != nil {
		return nil, c, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	to := nc.NewInbox()
	sub, err := nc.SubscribeSync(to + ".*")
	if err != nil {
		return nil, c, fmt.Errorf("ask the NATS servers: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	if subject != "" {
		err = nc.PublishRequest(subject, to+".answer", body)
	}
	if err = errors.Join(err, nc.PublishRequest(pingServers, to+".count", nil)); err != nil {
		return nil, c, fmt.Errorf("ask the NATS servers: %w", err)
	}
	incomplete := a.incompleteCensus()
	for {
		switch {
		case subject == "" && c.complete():
			a.setIncompleteCensus(census{})
			return nil, c, nil
		case subject != "" && len(answers) >= len(c.answered) && (c.complete() || c.count > 0 && c.equal(incomplete)):
			return answers, c, nil
		}
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && len(c.answered) > 0:
			if subject == "" {
				a.setIncompleteCensus(c)
			}
			return answers, c, nil
		case err != nil:
			return nil, c, &events.Error{Code: events.Unavailable, Message: "no NATS server answers", Err: err}
		case msg.Header.Get("Status") != "": // nobody hears the subject
		case strings.HasSuffix(msg.Subject, ".count"):
			err = c.add(msg.Data)
		default:
			answers = append(answers, answerOf(msg.Data))
		}
		if err != nil {
			return nil, c, err
		}
	}
}

func (a *Accounts) incompleteCensus() census {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.incomplete
}

func (a *Accounts) setIncompleteCensus(c census) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.incomplete = c
}

// ask sends a request to all servers and returns when so many have answered, or
// when no more answers come in time.
func (a *Accounts) ask(ctx context.Context, subject string, body []byte, expected int) (answers []answer, err error) {
	nc, err := a.connection()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	to := nc.NewInbox()
	sub, err := nc.SubscribeSync(to)
	if err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	if err := nc.PublishRequest(subject, to, body); err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", err)
	}
	for len(answers) < expected {
		msg, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, &events.Error{Code: events.Unavailable, Message: "no NATS server answers", Err: err}
		}
		answers = append(answers, answerOf(msg.Data))
	}
	return answers, nil
}

// answerOf finds out who answers, where the answer has it.
func answerOf(body []byte) answer {
	var r struct {
		Server serverInfo `json:"server"`
	}
	_ = json.Unmarshal(body, &r) // the answer to a look-up is an account or empty
	return answer{r.Server, body}
}
