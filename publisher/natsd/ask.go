package natsd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-e88a4ece/signoff/events"
	"github.com/seed-e88a4ece/signoff/publisher/tenancy"
)

// mostConnections is the server's own limit.
const mostConnections = 1 << 16

// mostBacklogs is how many connections are listed that leave most unread: those of 16
// partners at one time.
const mostBacklogs = 256

// reply is the part that is used here of what a server reports of itself.
type reply struct {
	Server struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Version string `json:"ver"`
	} `json:"server"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
	Statistics struct {
		ActiveServers int `json:"active_servers"`
	} `json:"statsz"`
	Data struct {
		Imports     []importInfo `json:"imports"`
		Connections []connection `json:"connections"`
		Total       int          `json:"total"`

		Accounts []*server.AccountStat `json:"account_statz"`
	} `json:"data"`
}

type importInfo struct {
	Subject string `json:"subject"`
	Local   string `json:"local_subject"`
	Type    string `json:"type"` // "stream" or "service"
	Invalid bool   `json:"invalid"`
}

type connection struct {
	ID      uint64 `json:"cid"`
	User    string `json:"authorized_user"`
	Account string `json:"account"`
	Pending int64  `json:"pending_bytes"`
}

// missing names something that the account should let through and does not; empty if it
// lets all through.
func (r reply) missing(a tenancy.Account) string {
	if r.Error != nil {
		return "account " + a.Name
	}
	has := make(map[importInfo]bool)
	for _, i := range r.Data.Imports {
		has[i] = true
	}
	for _, s := range a.Services {
		if !has[importInfo{s.Subject, s.Import, "service", false}] {
			return "service " + s.Subject + " in account " + a.Name
		}
	}
	for _, subject := range a.Streams {
		if !has[importInfo{subject, subject, "stream", false}] {
			return "stream " + subject + " in account " + a.Name
		}
	}
	return ""
}

// ask asks all servers. Those that do not answer in time are left out.
func (o *Outside) ask(ctx context.Context, subject string, question any) ([]reply, error) {
	nc, err := o.system()
	if err != nil {
		return nil, err
	}
	return o.askBy(ctx, nc, subject, question)
}

func (o *Outside) askBy(ctx context.Context, nc *nats.Conn, subject string, question any) ([]reply, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Timeout)
	defer cancel()
	counts, err := request(nc, "$SYS.REQ.SERVER.PING.STATSZ", nil)
	if err != nil {
		return nil, err
	}
	defer counts.Unsubscribe() //nolint:errcheck // the connection may be gone
	answers, err := request(nc, subject, body)
	if err != nil {
		return nil, err
	}
	defer answers.Unsubscribe() //nolint:errcheck // the connection may be gone
	first, err := next(ctx, counts)
	if err != nil {
		return nil, events.Errorf(events.Unavailable, "no NATS server answers: %v", err)
	}
	var all []reply
	for len(all) < first.Statistics.ActiveServers {
		r, err := next(ctx, answers)
		if errors.Is(err, context.DeadlineExceeded) && len(all) > 0 {
			break
		}
		if err != nil {
			return nil, events.Errorf(events.Unavailable, "no NATS server answers: %v", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// request sends a question that may have several answers.
func request(nc *nats.Conn, subject string, body []byte) (*nats.Subscription, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", err)
	}
	if err := nc.PublishRequest(subject, inbox, body); err != nil {
		return nil, fmt.Errorf("ask the NATS servers: %w", errors.Join(err, sub.Unsubscribe()))
	}
	return sub, nil
}

func next(ctx context.Context, answers *nats.Subscription) (r reply, err error) {
	msg, err := answers.NextMsgWithContext(ctx)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(msg.Data, &r); err != nil {
		return r, fmt.Errorf("read a NATS server's answer: %w", err)
	}
	return r, nil
}
